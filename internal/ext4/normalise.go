package ext4

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"strings"
	"time"
)

// Limits of what is written. ext4's own where nothing else is said.
const (
	maxPath      = 4095          // PATH_MAX without its zero
	maxName      = 255           // of one component, in bytes
	maxLinks     = 65000         // EXT4_LINK_MAX: names of a file, subdirectories of a directory
	maxFile      = 32 << 30      // beyond about 42 GiB the writer's extent tree is wrong
	maxXattrs    = 3 << 10       // of one file together; inode and block hold little more
	maxID        = 1<<32 - 2     // uid_t; 2^32-1 means "none"
	maxMajor     = 1<<12 - 1     // of Linux's dev_t
	maxMinor     = 1<<20 - 1     //
	maxTime      = math.MaxInt32 // 2038: the writer leaves the epoch bits out
	lostAndFound = "lost+found"  // the writer makes it
)

// node is what has to be remembered of a path that was written.
type node struct {
	kind     byte // tar's type; a hard link is the node it links to
	links    int  // a file's names, a directory's subdirectories and 2
	explicit bool // the tar named it; else it was made as a parent
	xattrs   bool
}

// normaliser reads a tar and writes one that the ext4 writer gets right.
//
// What that writer (hcsshim 0.15) does wrong without a word: times before 1970
// spill into the nanoseconds and after 2038 lose their epoch; ids and device
// numbers are cut to their width; xattr names outside the known namespaces
// lose their prefix, ACLs are stored in the system calls' form instead of ext4's;
// xattrs in a block can come out unsorted, and the kernel then misses some;
// parents that the tar does not name inherit mode and owner of their parent;
// a second directory entry merges xattrs; big files get a wrong extent tree.
type normaliser struct {
	limits limits
	nodes  map[string]*node
	stats  Stats
	out    *tar.Writer
}

func newNormaliser(l limits) *normaliser {
	return &normaliser{limits: l, nodes: map[string]*node{
		"":           {kind: tar.TypeDir, links: 3},
		lostAndFound: {kind: tar.TypeDir, links: 2},
	}}
}

func (n *normaliser) run(r io.Reader, w io.Writer) error {
	n.out = tar.NewWriter(w)
	in := tar.NewReader(r)
	for {
		hdr, err := in.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("read tar: %w", err)
		}
		if hdr.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if n.stats.Entries++; n.stats.Entries > n.limits.entries {
			return fmt.Errorf("tar has more than %d entries", n.limits.entries)
		}
		if err := n.entry(hdr, in); err != nil {
			return err
		}
	}
	return n.out.Close()
}

func (n *normaliser) entry(in *tar.Header, body io.Reader) error {
	name, err := cleanPath(in.Name)
	if err != nil {
		return err
	}
	target := ""
	if in.Typeflag == tar.TypeLink {
		if target, err = cleanPath(in.Linkname); err != nil {
			return fmt.Errorf("hard link %q: %w", name, err)
		}
	}
	hdr, err := n.header(in, name, target)
	if err != nil {
		return fmt.Errorf("refuse %q: %w", name, err)
	}
	if err := n.parents(hdr); err != nil {
		return err
	}
	if err := n.place(hdr, name, target); err != nil {
		return fmt.Errorf("refuse %q: %w", name, err)
	}
	if err := n.out.WriteHeader(hdr); err != nil {
		return fmt.Errorf("refuse %q: %w", name, err)
	}
	if hdr.Size > 0 {
		if n.stats.FileBytes += hdr.Size; n.stats.FileBytes > n.limits.bytes {
			return fmt.Errorf("refuse %q: the files together are larger than %d bytes", name, n.limits.bytes)
		}
		if _, err := io.CopyN(n.out, body, hdr.Size); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("read %q from the tar: %w", name, err)
		}
	}
	return nil
}

// header makes an entry anew: only what is named here gets through.
func (n *normaliser) header(in *tar.Header, name, target string) (*tar.Header, error) {
	out := &tar.Header{
		Format: tar.FormatPAX, Typeflag: in.Typeflag, Name: name,
		Mode: in.Mode & 0o7777, Uid: in.Uid, Gid: in.Gid, ModTime: clampTime(in.ModTime),
	}
	// One time for all four: a tar rarely has the others, and reading order
	// would otherwise be in the result.
	out.AccessTime, out.ChangeTime = out.ModTime, out.ModTime
	if name == "" {
		out.Name = "./"
		if in.Typeflag != tar.TypeDir {
			return nil, errors.New("the root is not a directory")
		}
	}
	if in.Uid < 0 || in.Uid > maxID || in.Gid < 0 || in.Gid > maxID {
		return nil, fmt.Errorf("owner %d:%d does not fit 32 bits", in.Uid, in.Gid)
	}
	switch in.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		out.Typeflag, out.Size = tar.TypeReg, in.Size
		if in.Size < 0 || in.Size > maxFile {
			return nil, fmt.Errorf("file of %d bytes: the most is %d", in.Size, int64(maxFile))
		}
	case tar.TypeLink:
		out.Linkname = target
		return out, nil // an inode has one set of attributes, its first name's
	case tar.TypeSymlink:
		out.Linkname = in.Linkname
		if len(in.Linkname) == 0 || len(in.Linkname) > maxPath || strings.ContainsRune(in.Linkname, 0) {
			return nil, fmt.Errorf("symbolic link with a target of %d bytes", len(in.Linkname))
		}
	case tar.TypeDir:
		if name != "" {
			out.Name += "/"
		}
	case tar.TypeChar, tar.TypeBlock:
		out.Devmajor, out.Devminor = in.Devmajor, in.Devminor
		if in.Devmajor < 0 || in.Devmajor > maxMajor || in.Devminor < 0 || in.Devminor > maxMinor {
			return nil, fmt.Errorf("device number %d:%d is out of range", in.Devmajor, in.Devminor)
		}
	case tar.TypeFifo:
	default:
		return nil, fmt.Errorf("entry of unknown type %q", in.Typeflag)
	}
	var err error
	out.PAXRecords, err = keepXattrs(in.PAXRecords)
	return out, err
}

// parents writes the directories above hdr that nothing has named yet, as
// root's with mode 0755.
func (n *normaliser) parents(hdr *tar.Header) error {
	clean := strings.TrimSuffix(hdr.Name, "/")
	for i := 0; i < len(clean); i++ {
		if clean[i] != '/' {
			continue
		}
		dir := clean[:i]
		if at := n.nodes[dir]; at != nil {
			if at.kind != tar.TypeDir {
				return fmt.Errorf("refuse %q: its parent %q is not a directory", clean, dir)
			}
			continue
		}
		p := &tar.Header{Format: tar.FormatPAX, Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755,
			ModTime: hdr.ModTime, AccessTime: hdr.ModTime, ChangeTime: hdr.ModTime}
		if err := n.add(dir, &node{kind: tar.TypeDir, links: 2}); err != nil {
			return err
		}
		if err := n.out.WriteHeader(p); err != nil {
			return fmt.Errorf("refuse %q: %w", dir, err)
		}
	}
	return nil
}

// place enters a path into the tree, or says why it can't be there.
func (n *normaliser) place(hdr *tar.Header, name, target string) error {
	xattrs := len(hdr.PAXRecords) > 0
	at := n.nodes[name]
	if hdr.Typeflag == tar.TypeLink {
		to := n.nodes[target]
		switch {
		case at != nil:
			return errors.New("the path is there twice")
		case to == nil:
			return fmt.Errorf("hard link to %q, which no entry before it names", target)
		case to.kind == tar.TypeDir:
			return fmt.Errorf("hard link to the directory %q", target)
		case to.links >= maxLinks:
			return fmt.Errorf("%q has more than %d hard links", target, maxLinks)
		}
		to.links++
		return n.add(name, to)
	}
	if at == nil {
		links := 1
		if hdr.Typeflag == tar.TypeDir {
			links = 2
		}
		return n.add(name, &node{kind: hdr.Typeflag, links: links, explicit: true, xattrs: xattrs})
	}
	// A directory may be named again, as tar does when it appends: the last
	// one's mode and owner count.
	if at.kind != tar.TypeDir || hdr.Typeflag != tar.TypeDir {
		return errors.New("the path is there twice")
	}
	if at.explicit && (at.xattrs || xattrs) {
		return errors.New("the directory is there twice, with extended attributes")
	}
	at.explicit, at.xattrs = true, xattrs
	return nil
}

func (n *normaliser) add(name string, at *node) error {
	if len(n.nodes) > n.limits.entries+2 {
		return fmt.Errorf("tar has more than %d files and directories", n.limits.entries)
	}
	if at.kind == tar.TypeDir {
		dir := path.Dir(name)
		if dir == "." {
			dir = ""
		}
		parent := n.nodes[dir]
		if parent.links >= maxLinks {
			return fmt.Errorf("directory %q has more than %d subdirectories", dir, maxLinks-2)
		}
		parent.links++
	}
	n.nodes[name] = at
	return nil
}

// cleanPath returns a path relative to the root, "" for the root itself. A
// path that climbs is refused even where it would stay inside.
func cleanPath(name string) (string, error) {
	if len(name) > maxPath {
		return "", fmt.Errorf("refuse a path of %d bytes: the most is %d", len(name), maxPath)
	}
	if name == "" || strings.ContainsRune(name, 0) {
		return "", fmt.Errorf("refuse the path %q", name)
	}
	for c := range strings.SplitSeq(name, "/") {
		if c == ".." {
			return "", fmt.Errorf("refuse %q: its parts .. leave the root", name)
		}
		if len(c) > maxName {
			return "", fmt.Errorf("refuse %q: the name %.20q… has %d bytes, the most is %d", name, c, len(c), maxName)
		}
	}
	return path.Clean("/" + name)[1:], nil
}

func clampTime(t time.Time) time.Time {
	s := min(max(t.Unix(), 0), maxTime)
	if s != t.Unix() {
		return time.Unix(s, 0)
	}
	return t
}
