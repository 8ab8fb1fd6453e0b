package cas

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Hold keeps the thing with digest from being removed as superseded until release. One
// that is gone is ErrNotFound.
func (s *Store) Hold(digest string) (release func(), err error) {
	dir, ok := s.dirOf(digest)
	if !ok {
		return nil, fmt.Errorf("digest %.80q: %w", digest, ErrNotFound)
	}
	lock, err := lockDir(dir, unix.LOCK_SH)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EWOULDBLOCK) { // the lock is its remover's
		return nil, fmt.Errorf("digest %q: %w", digest, ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	return func() { lock.Close() }, nil
}

// lockDir locks the directory that has the name dir.
func lockDir(dir string, how int) (*os.File, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	var locked, named unix.Stat_t
	err = unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
	if err == nil {
		err = errors.Join(unix.Fstat(int(f.Fd()), &locked), unix.Lstat(dir, &named))
	}
	if err == nil && locked.Ino != named.Ino {
		err = fs.ErrNotExist // it was removed, and made anew
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// RemoveSuperseded removes what no ref stands for, unless it is held, or another store
// keeps it: then its files have more than one name. What a store on another file system
// keeps are copies. While somebody makes something it leaves that to the maker.
func (s *Store) RemoveSuperseded() error {
	lock, err := s.openLock()
	if err != nil {
		return err
	}
	defer lock.Close()
	if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return nil
	}
	return s.removeSuperseded()
}

// removeSuperseded is RemoveSuperseded for whoever holds the lock.
func (s *Store) removeSuperseded() error {
	names, err := os.ReadDir(filepath.Join(s.dir, refsDir))
	if err != nil {
		return err
	}
	used := map[string]bool{}
	for _, n := range names {
		digest, err := s.refDigest(n.Name())
		if err != nil {
			return err
		}
		used[digest] = true
	}
	entries, err := os.ReadDir(s.dir)
	for _, e := range entries {
		digest := prefix + e.Name()
		if dir, ok := s.dirOf(digest); ok && !used[digest] {
			err = errors.Join(err, removeUnused(s, dir))
		}
	}
	return err
}

func removeUnused(s *Store, dir string) error {
	lock, err := lockDir(dir, unix.LOCK_EX)
	if err != nil {
		return nil // it is held
	}
	defer lock.Close()
	files, err := lock.ReadDir(-1)
	for _, f := range files {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(dir, f.Name()), &st); err != nil || st.Nlink > 1 {
			return err
		}
	}
	return errors.Join(err, s.remove(dir))
}

// remove removes a thing's directory. One that is cut leaves what the next sweep removes.
func (s *Store) remove(dir string) error {
	tmp, err := os.MkdirTemp(s.dir, tmpPrefix)
	if err != nil {
		return err
	}
	if err := unix.Rename(dir, tmp); err != nil {
		return errors.Join(&os.LinkError{Op: "rename", Old: dir, New: tmp, Err: err}, os.Remove(tmp))
	}
	return os.RemoveAll(tmp)
}
