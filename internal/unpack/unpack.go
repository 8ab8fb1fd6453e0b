// Package unpack writes files beneath a directory from names that nobody vouches
// for: each path is looked up by the kernel beneath the directory, with no link
// followed on the way, and only new files, directories and links are made. A system
// call or two a file is all that it costs.
package unpack

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Dir is the directory that files are written beneath. It belongs to one goroutine.
type Dir struct {
	fd   int
	made map[string]bool // directories that are there
	buf  []byte
}

// Open opens a directory. The caller closes it.
func Open(dir string) (*Dir, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	return &Dir{fd: fd, made: map[string]bool{".": true}, buf: make([]byte, 256<<10)}, nil
}

// Close closes the directory.
func (d *Dir) Close() error { return unix.Close(d.fd) }

// CheckName refuses a name that is no local path in its shortest form.
func CheckName(name string) error {
	if name == "" || name == "." || !filepath.IsLocal(name) || path.Clean(name) != name {
		return fmt.Errorf("%q is no path beneath a directory", name)
	}
	return nil
}

const beneath = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS

// create makes a new file and the directories that it needs.
func (d *Dir) create(name string, perm fs.FileMode) (int, error) {
	if err := CheckName(name); err != nil {
		return -1, err
	}
	if err := d.Mkdir(path.Dir(name), 0o755); err != nil {
		return -1, err
	}
	fd, err := unix.Openat2(d.fd, name, &unix.OpenHow{
		Flags: unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_CLOEXEC | unix.O_NOFOLLOW,
		Mode:  uint64(perm & 0o777), Resolve: beneath,
	})
	if err != nil {
		return -1, &fs.PathError{Op: "create", Path: name, Err: err}
	}
	return fd, nil
}

// A File is what File writes.
type File struct {
	Name string
	Perm fs.FileMode // of which the lowest nine bits count
	Time time.Time   // of its last change; zero is now
	// Holes leaves holes where a block holds zeros only.
	Holes bool
}

// File writes a new file with the content of r. It returns how many bytes it has, and
// its stat data.
func (d *Dir) File(f File, r io.Reader) (n int64, st unix.Stat_t, err error) {
	fd, err := d.create(f.Name, f.Perm)
	if err != nil {
		return 0, st, err
	}
	n, err = d.fill(fd, f, r)
	if err == nil {
		err = unix.Fstat(fd, &st)
	}
	if cerr := unix.Close(fd); err == nil {
		err = cerr
	}
	if err != nil {
		err = fmt.Errorf("write %q: %w", f.Name, err)
	}
	return n, st, err
}

func (d *Dir) fill(fd int, f File, r io.Reader) (n int64, err error) {
	if f.Holes {
		n, err = Sparse(fd, r, d.buf)
	} else {
		n, err = io.CopyBuffer(descriptor(fd), struct{ io.Reader }{r}, d.buf)
	}
	if err != nil || f.Time.IsZero() {
		return n, err
	}
	t := unix.NsecToTimespec(f.Time.UnixNano())
	return n, unix.UtimesNanoAt(fd, "", []unix.Timespec{t, t}, unix.AT_EMPTY_PATH)
}

// Link makes a symbolic link, and returns its stat data. at is the time of its last
// change; zero is now.
func (d *Dir) Link(name, target string, at time.Time) (st unix.Stat_t, err error) {
	if err := CheckName(name); err != nil {
		return st, err
	}
	if err := d.Mkdir(path.Dir(name), 0o755); err != nil {
		return st, err
	}
	dir, err := unix.Openat2(d.fd, path.Dir(name), &unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: beneath})
	if err == nil {
		defer unix.Close(dir)
		err = unix.Symlinkat(target, dir, path.Base(name))
	}
	if err == nil && !at.IsZero() {
		t := unix.NsecToTimespec(at.UnixNano())
		err = unix.UtimesNanoAt(dir, path.Base(name), []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err == nil {
		err = unix.Fstatat(dir, path.Base(name), &st, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err != nil {
		err = fmt.Errorf("write %q: %w", name, err)
	}
	return st, err
}

// Mkdir makes a directory, and those that it is in. One that this Dir made is left as
// it is.
func (d *Dir) Mkdir(name string, perm fs.FileMode) error {
	if d.made[name] {
		return nil
	}
	if err := CheckName(name); err != nil {
		return err
	}
	if err := d.Mkdir(path.Dir(name), 0o755); err != nil {
		return err
	}
	if err := unix.Mkdirat(d.fd, name, uint32(perm&0o777)|0o700); err != nil {
		return &fs.PathError{Op: "mkdir", Path: name, Err: err}
	}
	d.made[name] = true
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
