package workspace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxAside bounds how many works of one store are set aside: a guest could say that
// its repository is another one each time.
const maxAside = 32

// setAside keeps the work that the store has as a saved work of its own, beside the
// store, if the report is of another copy or of none: an import would replace it, and
// nothing of the guest's holds it any more. A copy that was cut between the guest and
// the VM's record comes so, and a guest that removed its repository.
func (s Store) setAside(reported string) error {
	was, err := s.Work()
	if errors.Is(err, ErrNoWork) || err == nil && (was.Copy == reported || !was.Changed()) {
		return nil
	} else if err != nil {
		return err
	}
	l, err := NewLease(filepath.Dir(s.Dir))
	if err != nil {
		return err
	}
	defer l.Close()
	if err := s.copyTo(l.Dir); err != nil {
		return fmt.Errorf("set the work aside that was saved before: %w", err)
	}
	for n := 1; n <= maxAside; n++ {
		to := Store{fmt.Sprintf("%s-%d", s.Dir, n)}
		if w, err := to.Work(); err == nil && w.At.Equal(was.At) {
			return nil // by an import that failed then
		}
		if _, err := os.Lstat(to.Dir); errors.Is(err, fs.ErrNotExist) {
			return os.Rename(l.Dir, to.Dir)
		}
	}
	return fmt.Errorf("%d works of it were set aside before: that many repositories can't have come and gone", maxAside)
}

// copyTo copies the store into dir, which is empty. Objects are shared.
func (s Store) copyTo(dir string) error {
	return filepath.WalkDir(s.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(s.Dir, path)
		if err != nil {
			return err
		}
		to := filepath.Join(dir, rel)
		switch {
		case rel == ".":
			return nil
		case d.IsDir() && strings.HasPrefix(rel, incoming):
			return filepath.SkipDir
		case d.IsDir():
			return os.Mkdir(to, 0o700)
		case d.Type()&fs.ModeSymlink != 0: // of a store beside another one
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(target, to)
		case strings.HasPrefix(rel, filepath.Join(storeGit, "objects")), strings.HasPrefix(rel, "lfs"):
			return linkOrCopy(to, path)
		}
		return copyRegular(to, path)
	})
}
