package workspace

import (
	"archive/tar"
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"banger/internal/lease"
	"banger/internal/lfs"
	"banger/internal/unpack"
	"banger/internal/workspace/wire"
)

// gitDir is the git directory's name in a tree, and firstIndex the name there of the
// index that went in, which no git of the guest's changes: git replaces its own.
const (
	gitDir     = ".git"
	firstIndex = "banger-index"
)

// readAhead is how much of a stream is read at once, in bytes.
const readAhead = 1 << 20

// Receive makes the workspace that the stream brings. It is made beside its place
// and then renamed: a stream that is cut leaves nothing under the path. What is
// there already is refused, unless it is an empty directory, the stream says Force, or
// it is a workspace of which the host has all (known).
func Receive(ctx context.Context, in io.Reader, home string) (wire.Received, error) {
	b := bufio.NewReaderSize(in, readAhead)
	b.Peek(readAhead) // all of a small copy: no wait for the agent's turn between its files
	r := tar.NewReader(b)
	h, err := readHeader(r)
	if err != nil {
		return wire.Received{}, err
	}
	dest := place(h.Path, home)
	e := exchange{dest: dest, force: h.Force}
	if h.Known {
		if e.known, err = readKnown(r, dest, home); err != nil {
			return wire.Received{}, err
		}
	}
	if err := checkFree(dest, h.Force || e.knowsPlace()); err != nil {
		return wire.Received{}, err
	}
	parent := filepath.Dir(dest)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return wire.Received{}, err
	}
	prefix := "." + filepath.Base(dest) + ".banger-"
	if len(prefix) > 200 {
		prefix = ".banger-"
	}
	lease.Sweep(parent, prefix) // of streams that were cut
	l, err := lease.New(parent, prefix)
	if err != nil {
		return wire.Received{}, err
	}
	defer l.Close() // nothing is there after the rename
	temp := l.Dir
	if err := os.Chmod(temp, 0o755); err != nil {
		return wire.Received{}, err
	}
	got, err := unpackInto(r, temp, h.Hash)
	if err != nil {
		return wire.Received{}, err
	}
	if err := os.Link(filepath.Join(temp, gitDir, "index"), filepath.Join(temp, gitDir, firstIndex)); err != nil {
		return wire.Received{}, err
	}
	got.Path = []byte(dest)
	if len(e.known) > 0 && (h.Force || e.knowsPlace()) {
		return got, e.run(ctx, temp)
	}
	return got, replace(temp, dest, h.Force)
}

func readHeader(r *tar.Reader) (h wire.Header, err error) {
	e, err := r.Next()
	if err != nil {
		return h, fmt.Errorf("read the stream: %w", err)
	}
	if e.Name != wire.PartHeader {
		return h, fmt.Errorf("the stream begins with %q, not with its header", e.Name)
	}
	if err := json.NewDecoder(io.LimitReader(r, wire.MaxLine)).Decode(&h); err != nil {
		return h, fmt.Errorf("read the stream's header: %w", err)
	}
	if len(h.Path) == 0 {
		return h, errors.New("the stream's header names no path")
	}
	return h, nil
}

// checkFree refuses a place that holds something.
func checkFree(dest string, force bool) error {
	fi, err := os.Lstat(dest)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case force:
		return nil
	case !fi.IsDir():
		return fmt.Errorf("%q is there already, and is no directory", dest)
	}
	entries, err := os.ReadDir(dest)
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("%q is there already, with %d entries", dest, len(entries))
	}
	return nil
}

// replace puts temp in the place of what is at dest: of nothing or an empty directory, or
// with force of anything.
func replace(temp, dest string, force bool) error {
	err := unix.Rename(temp, dest) // os.Rename refuses an empty directory
	if force && err != nil {
		if err := refuseMounts(dest); err != nil {
			return err
		}
		// temp holds the old content then, and is removed by the caller.
		err = unix.Renameat2(unix.AT_FDCWD, temp, unix.AT_FDCWD, dest, unix.RENAME_EXCHANGE)
	}
	if err != nil {
		return fmt.Errorf("rename %q to %q: %w", temp, dest, err)
	}
	return nil
}

// refuseMounts refuses a tree in which something is mounted: to remove the tree would
// remove what is in there.
func refuseMounts(dest string) error {
	real, err := filepath.EvalSymlinks(filepath.Dir(dest))
	if err != nil {
		return err
	}
	below := filepath.Join(real, filepath.Base(dest)) + "/"
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if len(f) < 5 { // proc_pid_mountinfo(5): the fifth is where
			continue
		}
		if at := unescapeMount.Replace(f[4]); strings.HasPrefix(at, below) {
			return fmt.Errorf("something is mounted at %q: it would go with what is replaced", at)
		}
	}
	return nil
}

// unescapeMount undoes what the kernel does to a path in a list of mounts.
var unescapeMount = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// unpacker writes a stream beneath a directory, and keeps what the index says of its
// files.
type unpacker struct {
	root  string
	dir   *unpack.Dir
	stats map[string]unix.Stat_t
	got   wire.Received
}

func unpackInto(r *tar.Reader, dir, hash string) (wire.Received, error) {
	d, err := unpack.Open(dir)
	if err != nil {
		return wire.Received{}, err
	}
	defer d.Close()
	u := &unpacker{root: dir, dir: d, stats: map[string]unix.Stat_t{}}
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return u.got, errors.New("the stream ends before its index")
		} else if err != nil {
			return u.got, fmt.Errorf("read the stream: %w", err)
		}
		if h.Name == wire.PartIndex {
			if err := u.index(r, hash); err != nil {
				return u.got, fmt.Errorf("write the index: %w", err)
			}
			// To the archive's end: the host has sent all.
			if _, err := r.Next(); !errors.Is(err, io.EOF) {
				return u.got, errors.Join(err, errors.New("the stream goes on after its index"))
			}
			return u.got, nil
		}
		if err := u.entry(h, r); err != nil {
			return u.got, err
		}
	}
}

// entry writes one entry of the stream.
func (u *unpacker) entry(h *tar.Header, r io.Reader) error {
	name, inTree := strings.CutPrefix(h.Name, wire.PartTree)
	if !inTree {
		git, found := strings.CutPrefix(h.Name, wire.PartGit)
		if !found {
			return fmt.Errorf("the stream has an entry %q", h.Name)
		}
		name = path.Join(gitDir, git)
	}
	name = strings.TrimSuffix(name, "/")
	switch h.Typeflag {
	case tar.TypeDir:
		return u.dir.Mkdir(name, 0o755)
	case tar.TypeSymlink:
		st, err := u.dir.Link(name, h.Linkname, h.ModTime)
		u.stats[name] = st
		u.got.Files++
		return err
	case tar.TypeReg:
		f := unpack.File{Name: name, Perm: fs.FileMode(h.Mode)}
		if h.Name == wire.PartGit+"config" {
			r = io.MultiReader(r, strings.NewReader(lfs.Config()))
		}
		if inTree {
			f.Time = h.ModTime
		}
		n, st, err := u.dir.File(f, r)
		if inTree {
			u.stats[name] = st
			u.got.Files++
			u.got.Bytes += n
		}
		return err
	case tar.TypeLink:
		return u.object(name, h)
	}
	return fmt.Errorf("the stream has an entry of type %q: %q", h.Typeflag, h.Name)
}

// object copies a file of the tree that is there already to where git's filter looks
// for it: a link would follow the file's edits.
func (u *unpacker) object(name string, h *tar.Header) error {
	from, inTree := strings.CutPrefix(h.Linkname, wire.PartTree)
	if !inTree || !strings.HasPrefix(name, path.Join(gitDir, lfs.Objects)+"/") {
		return fmt.Errorf("the stream has a copy of %q in %q", h.Linkname, h.Name)
	}
	in, err := os.OpenInRoot(u.root, from)
	if err != nil {
		return err
	}
	defer in.Close()
	_, _, err = u.dir.File(unpack.File{Name: name, Perm: 0o644}, in)
	return err
}
