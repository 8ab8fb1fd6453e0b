package builder

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"banger/internal/debian"
	"banger/internal/unpack"
	"banger/internal/untar"
)

// A tree of Debian's packages needs no guest: mke2fs takes it over from a directory, in
// the user namespace that packages are installed in, in two seconds. It keeps less than
// the kernel does (e2fsprogs 1.47.0): no time's part of a second, and none that needs more
// than 32 bits. A tree with such a thing is no plain one, and is the guest's.

// ErrNotPlain says that WritePlain can't keep what a tree has.
var ErrNotPlain = errors.New("a tree that mke2fs can't take over whole")

// plain says of a tree's entries what WritePlain has to know.
type plain struct {
	not   string   // the first that is not plain, and why; "" if all are
	nodes []string // debugfs's lines for devices, which the namespace's root can't make
	lines int      // their bytes
	root  string   // the lines for the root directory
}

// Limits of a plain tree.
const (
	maxPlainID     = 1 << 16   // of the namespace
	maxPlainDevice = 1 << 16   // a number that debugfs takes
	maxPlainAttrs  = 2 << 10   // bytes of an entry's attributes
	maxNodeLines   = 100 << 10 // bytes: they are one argument, of which the kernel takes 128 KiB
)

// plainAttrs are the attributes that mke2fs is known to take over, beside those of users.
var plainAttrs = []string{"security.capability", "system.posix_acl_access", "system.posix_acl_default"}

// plainName is what debugfs takes for a name as it is.
var plainName = regexp.MustCompile(`^[A-Za-z0-9_.+/-]+$`)

func (p *plain) add(h *tar.Header) {
	if why := p.take(h); why != "" && p.not == "" {
		p.not = fmt.Sprintf("%.100q: %s", h.Name, why)
	}
}

func (p *plain) take(h *tar.Header) string {
	name := path.Clean(h.Name)
	if !filepath.IsLocal(name) {
		return "its name"
	}
	if t := h.ModTime; t.Nanosecond() != 0 || t.Unix() < 0 || t.Unix() >= 1<<31 {
		return "its time"
	}
	if h.Uid < 0 || h.Uid >= maxPlainID || h.Gid < 0 || h.Gid >= maxPlainID {
		return "its owner"
	}
	attrs := 0
	for k, v := range h.PAXRecords {
		if attr, ok := strings.CutPrefix(k, "SCHILY.xattr."); ok {
			if !slices.Contains(plainAttrs, attr) && !strings.HasPrefix(attr, "user.") {
				return "attribute " + attr
			}
			attrs += len(attr) + len(v)
		} else if strings.HasPrefix(k, "SCHILY.acl.") || strings.HasPrefix(k, "GNU.sparse.") {
			return k
		}
	}
	if attrs > maxPlainAttrs {
		return "its attributes' size"
	}
	set := func(kind int64) (lines string) {
		at := fmt.Sprint("@", h.ModTime.Unix())
		for _, f := range [][2]any{{"mode", fmt.Sprintf("0%o", kind|h.Mode&0o7777)}, {"uid", h.Uid}, {"gid", h.Gid}, {"atime", at}, {"mtime", at}} {
			lines += fmt.Sprintf("set_inode_field /%s %s %v\n", strings.TrimPrefix(name, "."), f[0], f[1])
		}
		return lines
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if name == "." {
			p.root = set(0o40000)
		}
	case tar.TypeReg, tar.TypeLink, tar.TypeSymlink, tar.TypeFifo:
	case tar.TypeChar, tar.TypeBlock:
		if !plainName.MatchString(name) || attrs > 0 || h.Devmajor >= maxPlainDevice || h.Devminor >= maxPlainDevice {
			return "a device"
		}
		letter, kind := "c", int64(0o20000)
		if h.Typeflag == tar.TypeBlock {
			letter, kind = "b", 0o60000
		}
		line := fmt.Sprintf("cd /%s\nmknod %s %s %d %d\ncd /\n%s", path.Dir(name), path.Base(name), letter, h.Devmajor, h.Devminor, set(kind))
		if p.lines += len(line); p.lines > maxNodeLines {
			return "one of too many devices"
		}
		p.nodes = append(p.nodes, line)
	default:
		return fmt.Sprintf("its type %q", h.Typeflag)
	}
	return ""
}

// takeOver makes a file system of the tar at stdin: its arguments are debugfs's lines, the
// size in blocks, and mke2fs's own. e2fsck gives directories their indexes, which mke2fs
// doesn't, and reads all of it once; its status is 1 when it has changed something.
const takeOver = `lines=$1 blocks=$2; shift 2
mkdir -m 755 root
printf '%s' "$lines" | sed -n 's,^set_inode_field /\([^ ]*\) mode 0[26].*,\1\n./\1,p' >devices
tar --extract --file=- --directory=root --numeric-owner --same-owner --preserve-permissions --warning=no-timestamp --delay-directory-restore \
	--xattrs --xattrs-include='*' --anchored --exclude-from=devices
MKE2FS_CONFIG=/dev/null mke2fs "$@" -d root disk "$blocks" >&2
rm -r root
printf '%s' "$lines" | debugfs -w -f - disk 2>said >/dev/null
if grep -v '^debugfs [0-9]' said >&2; then exit 1; fi
e2fsck -f -y -D disk >said 2>&1 || test $? = 1 || { cat said >&2; exit 1; }
cat disk
`

// WritePlain writes the entries of a tar, a file that has its name, into a new ext4 at path.
// They are Debian's packages': tools of the host's read them. note is as of package
// debian. ErrNotPlain says why it is not to be written so. An error leaves nothing at path.
func WritePlain(ctx context.Context, tree *os.File, path, note string) (untar.Stats, error) {
	s, err := measure(ctx, tree)
	if err != nil {
		return untar.Stats{}, fmt.Errorf("read the tree: %w", err)
	}
	if s.plain.not != "" {
		return untar.Stats{}, fmt.Errorf("%w: %s", ErrNotPlain, s.plain.not)
	}
	if _, err := tree.Seek(0, io.SeekStart); err != nil {
		return untar.Stats{}, err
	}
	out, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return untar.Stats{}, err
	}
	defer out.Close()
	p := plan(s)
	script := debian.Script{
		Text: takeOver, Args: append([]string{strings.Join(s.plain.nodes, "") + s.plain.root, fmt.Sprint(p.blocks)}, p.args...),
		Stdin: tree, SpaceMiB: 2 * p.blocks / mib, Note: note,
	}
	var n int64
	err = debian.Run(ctx, script, func(r io.Reader) (err error) {
		n, err = unpack.Sparse(int(out.Fd()), r, make([]byte, 256<<10))
		return err
	})
	if err == nil && n != p.blocks*blockBytes {
		err = fmt.Errorf("it has %d bytes, not %d", n, p.blocks*blockBytes)
	}
	if err == nil {
		err = out.Sync()
	}
	if err != nil {
		return untar.Stats{}, errors.Join(fmt.Errorf("write the file system: %w", err), os.Remove(path))
	}
	return untar.Stats{Entries: s.entries, Bytes: s.bytes}, nil
}
