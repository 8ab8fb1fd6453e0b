package workspace

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// leasePrefix begins the names of directories that a process needs for a while.
const leasePrefix = ".new-"

// Lease is a directory that lives no longer than the process that made it: it is
// locked, and whoever finds it unlocked removes it (SweepLeases).
type Lease struct {
	Dir  string
	lock *os.File
}

// NewLease makes a directory below parent. The caller closes it.
func NewLease(parent string) (*Lease, error) {
	for {
		dir, err := os.MkdirTemp(parent, leasePrefix)
		if err != nil {
			return nil, err
		}
		lock, err := lockDir(dir)
		if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, unix.ENOENT) {
			continue // a sweep was faster than the lock
		}
		if err != nil {
			os.Remove(dir)
			return nil, err
		}
		if _, err := os.Lstat(dir); err != nil {
			lock.Close()
			continue
		}
		return &Lease{dir, lock}, nil
	}
}

// Close removes the directory, if it still has its name.
func (l *Lease) Close() {
	os.RemoveAll(l.Dir)
	l.lock.Close()
}

// IsLease reports whether name is that of a lease's directory.
func IsLease(name string) bool {
	return strings.HasPrefix(name, leasePrefix) && filepath.Base(name) == name
}

// SweepLeases removes the directories below parent whose process is gone. A parent that
// is another user's, or a link, is refused.
func SweepLeases(parent string) error {
	var st unix.Stat_t
	if err := unix.Lstat(parent, &st); err != nil {
		return &os.PathError{Op: "lstat", Path: parent, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || st.Uid != uint32(os.Getuid()) {
		return fmt.Errorf("%q is not a directory of this user's", parent)
	}
	entries, err := os.ReadDir(parent)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), leasePrefix) {
			continue
		}
		dir := filepath.Join(parent, e.Name())
		lock, err := lockDir(dir)
		if err != nil {
			continue // somebody's, or gone
		}
		errs = append(errs, os.RemoveAll(dir))
		lock.Close()
	}
	return errors.Join(errs...)
}

func lockDir(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
