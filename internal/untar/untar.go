// Package untar writes the entries of a tar stream, as they are, beneath a directory: in
// a guest that exists for nothing else, into a file system of its kernel's own. The
// stream may be hostile: no entry leads out of the directory, and the guest is thrown
// away.
package untar

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/unpack"
)

// Stats are what was written.
type Stats struct {
	Entries int   `json:"entries"`
	Bytes   int64 `json:"bytes"` // of files' contents
}

// Unpack writes all entries of r beneath dir. A later entry replaces an earlier one of its
// name; a directory stays. Names and links are looked up as in a root of their own: a
// link to an absolute path leads to that path beneath dir. What can't be kept as it is
// ends it with an error that names the entry.
func Unpack(ctx context.Context, r io.Reader, dir string) (Stats, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return Stats{}, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	u := &unpacker{root: fd, buf: make([]byte, 256<<10)}
	defer u.closeDir()
	in := tar.NewReader(bufio.NewReaderSize(r, 256<<10)) // a header is 512 bytes, and a read of a pipe is dear in a guest
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return u.stats, err
		}
		if err := u.entry(h, in); err != nil {
			return u.stats, fmt.Errorf("unpack %.300q: %w", h.Name, err)
		}
		u.stats.Entries++
	}
	return u.stats, u.setTimes()
}

type unpacker struct {
	root  int
	stats Stats
	buf   []byte
	// dirs are directories' times, which their entries' writing changes.
	dirs []dirTime
	// at and dir are the last entry's directory: the next one is mostly in the same.
	at  string
	dir int
}

type dirTime struct {
	name  string
	times [2]unix.Timespec
}

// inRoot resolves names as a process whose root is the directory.
const inRoot = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS

func (u *unpacker) entry(h *tar.Header, r io.Reader) error {
	name, err := local(h.Name)
	if err != nil {
		return err
	}
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	if name == "." {
		return u.rootEntry(h)
	}
	dir, base, err := u.parent(name)
	if err != nil {
		return err
	}
	if h.Typeflag != tar.TypeDir {
		if err := remove(dir, base); err != nil {
			return err
		}
	}
	mode := uint32(h.Mode) & 0o7777
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		return u.file(dir, base, h, r)
	case tar.TypeLink:
		return u.hardLink(dir, base, h.Linkname)
	case tar.TypeDir:
		err = unix.Mkdirat(dir, base, 0o700)
		if errors.Is(err, unix.EEXIST) {
			err = keepDirectory(dir, base)
		}
		u.dirs = append(u.dirs, dirTime{name, times(h)})
	case tar.TypeSymlink:
		if err := unix.Symlinkat(h.Linkname, dir, base); err != nil {
			return err
		}
		return u.finish(dir, base, h, 0)
	case tar.TypeChar:
		err = unix.Mknodat(dir, base, unix.S_IFCHR|0o600, int(unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))))
	case tar.TypeBlock:
		err = unix.Mknodat(dir, base, unix.S_IFBLK|0o600, int(unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))))
	case tar.TypeFifo:
		err = unix.Mknodat(dir, base, unix.S_IFIFO|0o600, 0)
	default:
		return fmt.Errorf("its type %q is unknown", h.Typeflag)
	}
	if err != nil {
		return err
	}
	return u.finish(dir, base, h, mode)
}

// local is a name's path beneath the directory, in its shortest form.
func local(name string) (string, error) {
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", errors.New("its name leads up")
		}
	}
	if strings.ContainsRune(name, 0) {
		return "", errors.New("its name holds a NUL")
	}
	if name = strings.TrimPrefix(path.Clean("/"+name), "/"); name == "" {
		name = "."
	}
	return name, nil
}

// parent opens the directory of an entry, and makes it if the stream has not. It stays
// open until another is asked for.
func (u *unpacker) parent(name string) (dir int, base string, err error) {
	at, base := path.Split(name)
	if at = path.Clean(at); u.dir != 0 && u.at == at {
		return u.dir, base, nil
	}
	how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: inRoot}
	fd, err := unix.Openat2(u.root, at, how)
	if errors.Is(err, unix.ENOENT) && at != "." {
		up, last, err := u.parent(at)
		if err != nil {
			return 0, "", err
		}
		if err := unix.Mkdirat(up, last, 0o755); err != nil {
			return 0, "", err
		}
		fd, err = unix.Openat2(u.root, at, how)
		if err != nil {
			return 0, "", err
		}
	} else if err != nil {
		return 0, "", err
	}
	u.closeDir()
	u.at, u.dir = at, fd
	return fd, base, nil
}

func (u *unpacker) closeDir() {
	if u.dir != 0 {
		unix.Close(u.dir)
	}
	u.at, u.dir = "", 0
}

// remove removes what an earlier entry of the name made.
func remove(dir int, base string) error {
	err := unix.Unlinkat(dir, base, 0)
	if errors.Is(err, unix.EISDIR) {
		err = unix.Unlinkat(dir, base, unix.AT_REMOVEDIR)
	}
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// keepDirectory keeps a directory that is there, and replaces anything else.
func keepDirectory(dir int, base string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return nil
	}
	if err := unix.Unlinkat(dir, base, 0); err != nil {
		return err
	}
	return unix.Mkdirat(dir, base, 0o700)
}

func (u *unpacker) file(dir int, base string, h *tar.Header, r io.Reader) error {
	mode := uint32(h.Mode) & 0o7777
	fd, err := unix.Openat(dir, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode&0o777)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	n, err := unpack.Sparse(fd, r, u.buf)
	u.stats.Bytes += n
	if err == nil && n != h.Size {
		err = fmt.Errorf("it has %d bytes, and its header says %d", n, h.Size)
	}
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	// Each call is dear in an emulated guest, and most files are root's.
	if int(st.Uid) != h.Uid || int(st.Gid) != h.Gid {
		if err := unix.Fchown(fd, h.Uid, h.Gid); err != nil {
			return err
		}
	}
	if st.Mode&0o7777 != mode || mode&0o7000 != 0 { // a change of owner takes setuid away
		if err := unix.Fchmod(fd, mode); err != nil {
			return err
		}
	}
	if err := setAttributes(h, func(name string, value []byte) error { return unix.Fsetxattr(fd, name, value, 0) }); err != nil {
		return err
	}
	t := times(h)
	return unix.UtimesNanoAt(fd, "", t[:], unix.AT_EMPTY_PATH)
}

func (u *unpacker) hardLink(dir int, base, target string) error {
	name, err := local(target)
	if err != nil {
		return fmt.Errorf("link to %q: %w", target, err)
	}
	at, last := path.Split(name)
	from, err := unix.Openat2(u.root, path.Clean(at), &unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: inRoot})
	if err == nil {
		defer unix.Close(from)
		err = unix.Linkat(from, last, dir, base, 0)
	}
	if err != nil {
		return fmt.Errorf("link to %q: %w", target, err)
	}
	return nil
}

func (u *unpacker) rootEntry(h *tar.Header) error {
	if h.Typeflag != tar.TypeDir {
		return errors.New("the root is a directory")
	}
	fd, err := unix.Openat2(u.root, ".", &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: inRoot})
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := errors.Join(unix.Fchown(fd, h.Uid, h.Gid), unix.Fchmod(fd, uint32(h.Mode)&0o7777)); err != nil {
		return err
	}
	if err := setAttributes(h, func(name string, value []byte) error { return unix.Fsetxattr(fd, name, value, 0) }); err != nil {
		return err
	}
	u.dirs = append(u.dirs, dirTime{".", times(h)})
	return nil
}

// finish gives what was made its owner, mode, attributes and time. A link has no mode.
func (u *unpacker) finish(dir int, base string, h *tar.Header, mode uint32) error {
	link := h.Typeflag == tar.TypeSymlink
	if err := unix.Fchownat(dir, base, h.Uid, h.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if !link {
		if err := unix.Fchmodat(dir, base, mode, 0); err != nil {
			return err
		}
	}
	at := fmt.Sprintf("/proc/self/fd/%d/%s", dir, base)
	if err := setAttributes(h, func(name string, value []byte) error { return unix.Lsetxattr(at, name, value, 0) }); err != nil {
		return err
	}
	t := times(h)
	return unix.UtimesNanoAt(dir, base, t[:], unix.AT_SYMLINK_NOFOLLOW)
}

// setTimes sets the directories' times, which the writing of their entries has changed.
func (u *unpacker) setTimes() error {
	for _, d := range u.dirs {
		fd, err := unix.Openat2(u.root, d.name, &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: inRoot})
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			continue // a later entry replaced it
		}
		if err == nil {
			err = unix.UtimesNanoAt(fd, "", d.times[:], unix.AT_EMPTY_PATH)
			unix.Close(fd)
		}
		if err != nil {
			return fmt.Errorf("set the time of %.300q: %w", d.name, err)
		}
	}
	return nil
}

func times(h *tar.Header) [2]unix.Timespec {
	stamp := func(t time.Time) unix.Timespec {
		return unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
	}
	changed := stamp(h.ModTime)
	return [2]unix.Timespec{changed, changed}
}

// Records of a PAX header with extended attributes and access lists.
const (
	xattrPrefix = "SCHILY.xattr."
	accessList  = "SCHILY.acl.access"
	defaultList = "SCHILY.acl.default"
)

// attributes are an entry's, by name.
func attributes(h *tar.Header) (map[string]string, error) {
	out := map[string]string{}
	for k, v := range h.PAXRecords {
		name, is := strings.CutPrefix(k, xattrPrefix)
		var err error
		switch k {
		case accessList:
			name = "system.posix_acl_access"
			v, err = aclAttribute(v)
		case defaultList:
			name = "system.posix_acl_default"
			v, err = aclAttribute(v)
		default:
			if !is {
				continue
			}
		}
		if err != nil {
			return nil, err
		}
		out[name] = v
	}
	return out, nil
}

// setAttributes sets an entry's attributes by set.
func setAttributes(h *tar.Header, set func(name string, value []byte) error) error {
	list, err := attributes(h)
	for name, value := range list {
		if err := set(name, []byte(value)); err != nil {
			return fmt.Errorf("set its attribute %q: %w", name, err)
		}
	}
	return err
}
