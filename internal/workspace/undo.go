package workspace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// EditedError names what was edited after an apply, and what taking it back would
// lose: paths in quotes, the index's entries and a branch. Nothing was changed.
type EditedError struct{ Paths []string }

func (e *EditedError) Error() string {
	return "edited since then: " + strings.Join(e.Paths, ", ")
}

// edits says which paths hold neither what they held before nor what the apply wrote, by
// their numbers, and which have to be changed back.
func (x *transaction) edits() (edited []int, back []bool, err error) {
	back = make([]bool, len(x.j.Paths))
	for n, p := range x.j.Paths {
		is, err := x.t.equals(string(p.Path), p.OldMode, x.file("old", n))
		if err != nil {
			return nil, nil, err
		}
		if is {
			continue
		}
		if back[n], err = x.t.equals(string(p.Path), p.NewMode, x.file("new", n)); err != nil {
			return nil, nil, err
		}
		if !back[n] {
			edited = append(edited, n)
		}
	}
	return edited, back, nil
}

// left is what taking an apply back left as it is, because it was edited since then.
type left struct {
	Edited []string // paths in quotes, the index's entries and a branch
	// Kept is the directory below the git directory with what the paths among them held
	// before the apply; "" if that was nothing.
	Kept string
}

func (l left) String() string {
	text := "edited since then, and left as it is: " + strings.Join(l.Edited, ", ")
	if l.Kept != "" {
		text += fmt.Sprintf("; what was there before is in %q", l.Kept)
	}
	return text
}

// keptPrefix begins the names of directories with what edited paths held before an apply.
const keptPrefix = "banger-cut-"

// keepOld keeps what edited paths held before the apply, which is about to forget it: of
// those that it may have written.
func (x *transaction) keepOld(edited []int) error {
	for _, n := range edited {
		p := x.j.Paths[n]
		if n >= x.reached || p.OldMode == 0 {
			continue
		}
		if x.left.Kept == "" {
			dir, err := os.MkdirTemp(x.r.GitDir, keptPrefix)
			if err != nil {
				return err
			}
			x.left.Kept = dir
		}
		to := filepath.Join(x.left.Kept, string(p.Path))
		err := os.MkdirAll(filepath.Dir(to), 0o700)
		if err == nil {
			err = linkOrCopy(to, x.file("old", n)) // a link's target is its text
		}
		if err != nil { // below here the path may be too long
			err = linkOrCopy(filepath.Join(x.left.Kept, keptPrefix+strconv.Itoa(n)), x.file("old", n))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// takeBack gives the branch, each path and the index what they held before. What was
// edited since then stays as it is, and is left. An error leaves the journal, for the next
// time.
func (x *transaction) takeBack(ctx context.Context) error {
	steps, err := x.backSteps(ctx)
	if err != nil {
		return err
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// backSteps are what takes an apply back, in an order that can be cut between any two
// of them.
func (x *transaction) backSteps(ctx context.Context) (steps []func(context.Context) error, err error) {
	add := func(do func(context.Context) error) { steps = append(steps, do) }
	edited, back, err := x.edits()
	if err != nil {
		return nil, err
	}
	x.left = left{}
	for _, n := range edited {
		if n < x.reached {
			x.left.Edited = append(x.left.Edited, strconv.Quote(string(x.j.Paths[n].Path)))
		}
	}
	staged := false
	if x.j.Index != nil {
		file, entries, err := x.oldIndex(ctx)
		if err != nil {
			return nil, err
		}
		for _, name := range entries {
			x.left.Edited = append(x.left.Edited, strconv.Quote(name)+" in the index")
		}
		if staged = file != ""; staged {
			add(func(context.Context) error { return lockIndex(x.r, x.dir) })
		}
	}
	if x.j.Commit != nil {
		add(func(ctx context.Context) error { return x.j.Commit.moveBack(ctx, x.r, x.dir) })
	}
	// The last first: a directory that became a file is one again.
	for n := len(x.j.Paths) - 1; n >= 0; n-- {
		p := x.j.Paths[n]
		add(func(context.Context) error { return x.t.clear(p, back[n]) })
		if back[n] {
			add(func(context.Context) error {
				if err := x.t.change(p, x.file("old", n), p.OldMode); err != nil {
					return fmt.Errorf("take back %q: %w; what it held is in %q", p.Path, err, x.dir)
				}
				return nil
			})
		}
	}
	if staged {
		add(x.indexBack)
	}
	add(func(context.Context) error { return unlockIndex(x.r, x.dir) })
	add(func(context.Context) error { return noteApplied(x.r, x.j.Store, x.j.Before) })
	add(func(context.Context) error { return x.keepOld(edited) })
	add(func(context.Context) error { return removeJournal(x.dir) })
	return steps, nil
}

// Recovered is what Recover did.
type Recovered struct {
	Cut bool // an apply was cut, and is taken back
	left
}

// Recover takes back an apply that was cut, but for what was edited since then. One that
// had come to its end, but for its notes, is ended instead if the user has committed
// on top of it.
func Recover(ctx context.Context, r *Repository) (Recovered, error) {
	if _, err := os.Lstat(filepath.Join(r.GitDir, journalDir)); errors.Is(err, fs.ErrNotExist) {
		return Recovered{}, nil
	}
	unlock, err := lockRepository(r)
	if err != nil {
		return Recovered{}, err
	}
	defer unlock()
	return recoverLocked(ctx, r)
}

// WasCut reports whether there is an apply that was cut, which Recover takes back. One that
// goes on is none.
func WasCut(r *Repository) (bool, error) {
	if _, err := os.Lstat(filepath.Join(r.GitDir, journalDir)); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	unlock, err := lockRepository(r)
	if errors.Is(err, ErrApplying) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	unlock()
	return true, nil
}

func recoverLocked(ctx context.Context, r *Repository) (done Recovered, err error) {
	x, err := openTransaction(r, journalDir)
	if errors.Is(err, fs.ErrNotExist) {
		return done, os.RemoveAll(filepath.Join(r.GitDir, journalDir)) // it had changed nothing
	} else if err != nil {
		return done, err
	}
	defer x.t.Close()
	if x.j.Commit != nil {
		at, err := x.j.Commit.look(ctx, r, x.dir)
		if err != nil {
			return done, err
		}
		if at == refBeyond {
			unlockIndex(r, x.dir)
			for _, step := range x.ending() {
				if err := step(ctx); err != nil {
					return done, err
				}
			}
			return done, nil
		}
	}
	err = x.takeBack(ctx)
	return Recovered{true, x.left}, err
}

// openTransaction reads the journal in a directory of r's git directory. The caller
// closes the tree.
func openTransaction(r *Repository, name string) (*transaction, error) {
	x := &transaction{r: r, dir: filepath.Join(r.GitDir, name)}
	var err error
	if x.j, err = readJournal(x.dir); err != nil {
		return nil, err
	}
	x.reached = len(x.j.Paths)
	x.t, err = openTree(r.Root)
	return x, err
}

// ErrNothingToUndo says that no apply can be taken back.
var ErrNothingToUndo = errors.New("no apply in this repository can be taken back")

// Undo takes back the last apply. What was edited since is an *EditedError, and
// nothing is changed. It returns how many paths are as they were. One that is cut is
// ended by the next Recover.
func Undo(ctx context.Context, r *Repository) (int, error) {
	unlock, err := lockRepository(r)
	if err != nil {
		return 0, err
	}
	defer unlock()
	if _, err := recoverLocked(ctx, r); err != nil {
		return 0, err
	}
	x, err := openTransaction(r, undoDir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, ErrNothingToUndo
	} else if err != nil {
		return 0, err
	}
	defer x.t.Close()
	if err := x.checkUnedited(ctx); err != nil {
		return 0, err
	}
	if x.j.Index != nil && isIndexLocked(r) { // before the point of no return
		return 0, indexLocked(r)
	}
	if err := x.reopen(); err != nil {
		return 0, err
	}
	err = x.takeBack(ctx)
	if err == nil && len(x.left.Edited) > 0 {
		err = errors.New(x.left.String())
	}
	return len(x.j.Paths), err
}

// reopen makes an apply that ended one that was cut.
func (x *transaction) reopen() error {
	dir := filepath.Join(x.r.GitDir, journalDir)
	if err := os.Rename(x.dir, dir); err != nil {
		return err
	}
	x.dir = dir
	return nil
}

// inTheWay returns what is where the files are to come that the apply removed. One that is
// cut is not taken back over it either: its journal stays, with what they held.
func (x *transaction) inTheWay(back []bool) (paths []string, err error) {
	goes := map[string]bool{}
	for n, p := range x.j.Paths {
		goes[string(p.Path)] = back[n] && p.OldMode == 0
	}
	for n, p := range x.j.Paths {
		if !back[n] || p.NewMode != 0 {
			continue
		}
		in, err := x.t.inTheWay(string(p.Path), goes)
		if err != nil {
			return nil, err
		}
		paths = append(paths, in...)
	}
	return paths, nil
}

// checkUnedited returns an *EditedError if taking an apply back would not give all that
// was there before.
func (x *transaction) checkUnedited(ctx context.Context) error {
	numbers, back, err := x.edits()
	if err != nil {
		return err
	}
	in, err := x.inTheWay(back)
	if err != nil {
		return err
	}
	var edited []string
	for _, n := range numbers {
		edited = append(edited, strconv.Quote(string(x.j.Paths[n].Path)))
	}
	for _, name := range in {
		if name = strconv.Quote(name); !slices.Contains(edited, name) {
			edited = append(edited, name)
		}
	}
	if x.j.Index != nil {
		_, entries, err := x.oldIndex(ctx)
		if err != nil {
			return err
		}
		for _, name := range entries {
			if name = strconv.Quote(name); !slices.Contains(edited, name) {
				edited = append(edited, name+" in the index")
			}
		}
	}
	if c := x.j.Commit; c != nil {
		at, err := c.look(ctx, x.r, x.dir)
		if err != nil {
			return err
		}
		if at != refNew && at != refOld { // it may be back where it was
			edited = append(edited, c.name())
		}
	}
	if len(edited) > 0 {
		return &EditedError{edited}
	}
	return nil
}
