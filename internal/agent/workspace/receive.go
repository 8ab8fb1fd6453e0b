package workspace

import (
	"archive/tar"
	"bufio"
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

	"banger/internal/workspace/wire"
)

// gitDir is the git directory's name in a tree.
const gitDir = ".git"

// Receive makes the workspace that the stream brings. It is made beside its place
// and then renamed: a stream that is cut leaves nothing under the path. What is
// there already is refused, unless it is an empty directory or the stream says
// Force.
func Receive(in io.Reader, home string) (wire.Received, error) {
	r := tar.NewReader(bufio.NewReaderSize(in, 1<<20))
	h, err := readHeader(r)
	if err != nil {
		return wire.Received{}, err
	}
	dest := place(h.Path, home)
	if err := checkFree(dest, h.Force); err != nil {
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
	sweep(parent, prefix)
	temp, err := os.MkdirTemp(parent, prefix)
	if err != nil {
		return wire.Received{}, err
	}
	defer os.RemoveAll(temp) // nothing is there after the rename
	if err := os.Chmod(temp, 0o755); err != nil {
		return wire.Received{}, err
	}
	got, err := unpack(r, temp, h.Hash)
	if err != nil {
		return wire.Received{}, err
	}
	got.Path = []byte(dest)
	return got, replace(temp, dest)
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

// sweep removes what streams that were cut left.
func sweep(parent, prefix string) {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			os.RemoveAll(filepath.Join(parent, e.Name()))
		}
	}
}

// replace puts temp in the place of what is at dest.
func replace(temp, dest string) error {
	err := unix.Renameat2(unix.AT_FDCWD, temp, unix.AT_FDCWD, dest, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EEXIST) {
		// temp holds the old content then, and is removed by the caller.
		err = unix.Renameat2(unix.AT_FDCWD, temp, unix.AT_FDCWD, dest, unix.RENAME_EXCHANGE)
	}
	if err != nil {
		return fmt.Errorf("rename %q to %q: %w", temp, dest, err)
	}
	return nil
}

// unpacker writes a stream beneath a directory. System calls are what it costs, so
// each path is looked up once, by the kernel, and no link is followed on the way.
type unpacker struct {
	dir   int             // a descriptor of the directory
	made  map[string]bool // directories that are there
	stats map[string]unix.Stat_t
	got   wire.Received
	buf   []byte
}

func unpack(r *tar.Reader, dir, hash string) (wire.Received, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return wire.Received{}, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	u := &unpacker{dir: fd, made: map[string]bool{".": true}, stats: map[string]unix.Stat_t{}, buf: make([]byte, 256<<10)}
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
	if !fs.ValidPath(name) && !filepath.IsLocal(name) {
		return fmt.Errorf("the stream has a path %q", h.Name)
	}
	if err := u.mkdir(path.Dir(name)); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return u.mkdir(name)
	case tar.TypeSymlink:
		return u.link(name, h.Linkname)
	case tar.TypeReg:
		return u.file(name, h, r, inTree)
	}
	return fmt.Errorf("the stream has an entry of type %q: %q", h.Typeflag, h.Name)
}

// create makes a new file.
func (u *unpacker) create(name string, mode int64) (int, error) {
	fd, err := unix.Openat2(u.dir, name, &unix.OpenHow{
		Flags:   unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_CLOEXEC | unix.O_NOFOLLOW,
		Mode:    uint64(mode) & 0o777,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return -1, &fs.PathError{Op: "create", Path: name, Err: err}
	}
	return fd, nil
}

func (u *unpacker) file(name string, h *tar.Header, r io.Reader, inTree bool) error {
	fd, err := u.create(name, h.Mode)
	if err != nil {
		return err
	}
	err = u.fill(fd, name, h, r, inTree)
	if cerr := unix.Close(fd); err == nil && cerr != nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("write %q: %w", name, err)
	}
	return nil
}

func (u *unpacker) fill(fd int, name string, h *tar.Header, r io.Reader, inTree bool) error {
	n, err := io.CopyBuffer(descriptor(fd), struct{ io.Reader }{r}, u.buf)
	if err != nil || !inTree {
		return err
	}
	u.got.Files++
	u.got.Bytes += n
	// Before the index takes the file's stat data.
	t := unix.NsecToTimespec(h.ModTime.UnixNano())
	if err := unix.UtimesNanoAt(fd, "", []unix.Timespec{t, t}, unix.AT_EMPTY_PATH); err != nil {
		return err
	}
	return u.note(fd, "", name, unix.AT_EMPTY_PATH)
}

// note keeps a file's stat data for the index.
func (u *unpacker) note(at int, path, name string, flags int) error {
	var st unix.Stat_t
	if err := unix.Fstatat(at, path, &st, flags); err != nil {
		return err
	}
	u.stats[name] = st
	return nil
}

func (u *unpacker) link(name, target string) error {
	dir, err := unix.Openat2(u.dir, path.Dir(name), &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	if err == nil {
		defer unix.Close(dir)
		err = unix.Symlinkat(target, dir, path.Base(name))
	}
	if err == nil {
		err = u.note(dir, path.Base(name), name, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err != nil {
		return fmt.Errorf("write %q: %w", name, err)
	}
	u.got.Files++
	return nil
}

// mkdir makes a directory, and those that it is in.
func (u *unpacker) mkdir(name string) error {
	if u.made[name] {
		return nil
	}
	if err := u.mkdir(path.Dir(name)); err != nil {
		return err
	}
	if err := unix.Mkdirat(u.dir, name, 0o755); err != nil {
		return &fs.PathError{Op: "mkdir", Path: name, Err: err}
	}
	u.made[name] = true
	return nil
}

// descriptor writes to an open file.
type descriptor int

func (d descriptor) Write(p []byte) (int, error) {
	for n := 0; n < len(p); {
		k, err := unix.Write(int(d), p[n:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return n, err
		}
		n += k
	}
	return len(p), nil
}
