// Package lease makes directories that live no longer than the process that made
// them, though it was killed.
package lease

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Lease is a directory that its process has locked. Whoever finds it unlocked removes
// it (Sweep).
type Lease struct {
	Dir  string
	lock *os.File
}

// New makes a directory below parent, whose name begins with prefix. The caller
// closes it.
func New(parent, prefix string) (*Lease, error) {
	for {
		dir, err := os.MkdirTemp(parent, prefix+"*")
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

// Close removes what has the directory's name: the directory, if it was not renamed.
func (l *Lease) Close() {
	os.RemoveAll(l.Dir)
	l.lock.Close()
}

// Sweep removes the directories below parent whose process is gone and whose names
// begin with prefix. A parent that is another user's, or a link, is refused.
func Sweep(parent, prefix string) error {
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
		if !strings.HasPrefix(e.Name(), prefix) {
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
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
