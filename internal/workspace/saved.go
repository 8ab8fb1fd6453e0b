package workspace

import (
	"context"
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
func (s Saved) ID() string { return s.id() }

// Changed reports whether there is anything in it that did not go in.
func (s Saved) Changed() bool { return s.Work.Changed() }

// UnreadableError is a store whose work can't be read.
type UnreadableError struct {
	ID, VM string // the store's, and its VM's name
	Err    error
}

func (e *UnreadableError) Error() string {
	return fmt.Sprintf("the saved work %s of VM %q can't be read: %v", e.ID, e.VM, e.Err)
}

func (e *UnreadableError) Unwrap() error { return e.Err }

// List returns all stores in dir that hold work, the newest first, and apart from them those
// whose work can't be read. What is no store is left out.
func List(dir string) (list []Saved, broken []*UnreadableError, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	} else if err != nil {
		return nil, nil, err
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
			broken = append(broken, &UnreadableError{s.ID(), s.Info.VM.Name, err})
			continue
		}
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b Saved) int { return b.Work.At.Compare(a.Work.At) })
	return list, broken, nil
}

// Errors of Find.
var ErrNotFound = errors.New("no such saved work")

// FindAll returns the saved works that ref names: the one of an id, or all of the VM
// that had the name last, the newest of each place in the guest.
func FindAll(dir, ref string) (found []Saved, err error) {
	one, err := Find(dir, ref)
	if err != nil {
		return nil, err
	}
	if one.Info.VM.Name != ref {
		return []Saved{one}, nil
	}
	list, _, err := List(dir)
	places := map[string]bool{}
	for _, s := range list {
		if at := s.Info.VM; at.ID == one.Info.VM.ID && !places[at.GuestPath] {
			places[at.GuestPath] = true
			found = append(found, s)
		}
	}
	return found, err
}

// Find returns the saved work that ref names: by its id, by the beginning of
// exactly one id, or by the name that its VM had. Of several of one name it is the
// newest. One that can't be read may be meant: then it is an *UnreadableError.
func Find(dir, ref string) (Saved, error) {
	list, broken, err := List(dir)
	if err != nil {
		return Saved{}, err
	}
	for _, b := range broken {
		if ref != "" && (b.VM == ref || strings.HasPrefix(b.ID, ref)) {
			return Saved{}, b
		}
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

// Drop removes the work for good, and gives its room back. The base stays for as long as
// a VM needs it. After an error the work may be gone, and its room not free yet.
func (s Saved) Drop(ctx context.Context) error {
	lock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := os.Remove(filepath.Join(s.Dir, workFile)); err != nil {
		return err
	}
	if err := s.free(ctx); err != nil {
		return fmt.Errorf("the work of VM %q is dropped, but takes its room still: %w", s.Info.VM.Name, err)
	}
	return nil
}

// free removes all but the base from the store: the refs first, as one that names nothing
// would spoil the repository.
func (s Store) free(ctx context.Context) error {
	refs, err := listRefs(ctx, s.git(), "refs/")
	if err != nil {
		return err
	}
	var tx strings.Builder
	for _, r := range refs {
		if r.name != refBase {
			fmt.Fprintf(&tx, "delete %s\x00\x00", r.name)
		}
	}
	if _, err := s.git().Run(ctx, strings.NewReader(tx.String()), "update-ref", "-z", "--stdin"); err != nil {
		return err
	}
	packs, _, err := s.packs()
	if err != nil {
		return err
	}
	objects := filepath.Join(s.repo(), "objects")
	for _, p := range packs {
		for _, ending := range []string{".idx", ".rev", ".pack"} { // git finds a pack by its index
			rerr := os.Remove(filepath.Join(objects, "pack", p+ending))
			if !errors.Is(rerr, fs.ErrNotExist) {
				err = errors.Join(err, rerr)
			}
		}
	}
	return errors.Join(err, os.RemoveAll(filepath.Join(s.Dir, "lfs")))
}
