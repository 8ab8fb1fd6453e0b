package workspace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Saved is a store with the work that came out.
type Saved struct {
	Store
	Info Info
	Work Work
}

// ID names the store in its directory: the VM's id, a hyphen, a number.
func (s Saved) ID() string { return filepath.Base(s.Dir) }

// Changed reports whether there is anything in it that did not go in.
func (s Saved) Changed() bool { return s.Work.Files > 0 || s.Work.Commits > 0 }

// List returns all stores in dir that hold work, the newest first. What is no store
// is left out.
func List(dir string) (list []Saved, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") || !strings.Contains(e.Name(), "-") {
			continue
		}
		s := Saved{Store: Store{Dir: filepath.Join(dir, e.Name())}}
		if s.Info, err = s.Store.Info(); err != nil {
			continue // a client's, not taken by any VM
		}
		if s.Work, err = s.Store.Work(); errors.Is(err, ErrNoWork) {
			continue
		} else if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b Saved) int { return b.Work.At.Compare(a.Work.At) })
	return list, nil
}

// Errors of Find.
var ErrNotFound = errors.New("no such saved work")

// Find returns the saved work that ref names: by its id, by the beginning of
// exactly one id, or by the name that its VM had. Of several of one name it is the
// newest.
func Find(dir, ref string) (Saved, error) {
	list, err := List(dir)
	if err != nil {
		return Saved{}, err
	}
	var begins []Saved
	for _, s := range list {
		if s.ID() == ref || s.Info.VM.Name == ref {
			return s, nil
		}
		if ref != "" && strings.HasPrefix(s.ID(), ref) {
			begins = append(begins, s)
		}
	}
	switch len(begins) {
	case 0:
		return Saved{}, fmt.Errorf("%w: %.80q", ErrNotFound, ref)
	case 1:
		return begins[0], nil
	}
	return Saved{}, fmt.Errorf("%.80q begins the ids of %d saved works", ref, len(begins))
}

// Drop removes the work for good. The base stays for as long as a VM needs it.
func (s Saved) Drop() error {
	return os.Remove(filepath.Join(s.Dir, workFile))
}
