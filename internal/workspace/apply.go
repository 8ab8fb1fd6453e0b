package workspace

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/durable"
)

// An apply keeps a journal in the repository's git directory. It first writes there
// what each path will hold, in new/N, and what it holds, in old/N, and then says so
// in the journal; only then does it change the tree, path by path. One that was cut
// is taken back by the next (Recover), and one that ended can be taken back
// (Undo): the journal of the last one stays.
const (
	journalDir  = "banger-apply" // under way
	undoDir     = "banger-undo"  // the last that ended
	journalFile = "journal.json"
	journalLock = "banger-apply.lock"
	// journalFormat is the version of the journal's JSON.
	journalFormat = 1
)

type journal struct {
	Format int       `json:"format"`
	At     time.Time `json:"at"`
	VM     string    `json:"vm"`
	// Store is the id of the work's store, Tree the work's tree, and Before the tree of
	// it that was applied before; "" if none was.
	Store  string      `json:"store"`
	Tree   string      `json:"tree"`
	Before string      `json:"before,omitempty"`
	Paths  []pathState `json:"paths"`
}

// appliedFile says which tree of each store was applied last: the next apply merges
// what came after it. What the user has of it already is no conflict then.
const appliedFile = "banger-applied.json"

// readApplied returns the trees by their stores' ids. A file that can't be read is as
// none: the base is then what went in, which is only more cautious.
func readApplied(r *Repository) map[string]string {
	trees := map[string]string{}
	if text, err := readSmall(filepath.Join(r.GitDir, appliedFile), maxConfig); err == nil {
		json.Unmarshal(text, &trees)
	}
	return trees
}

// noteApplied records the tree of a store; "" forgets it.
func noteApplied(r *Repository, store, tree string) error {
	trees := readApplied(r)
	trees[store] = tree
	if tree == "" {
		delete(trees, store)
	}
	text, err := json.Marshal(trees)
	if err != nil {
		return err
	}
	return durable.Replace(filepath.Join(r.GitDir, appliedFile), text)
}

// pathState is what a path held before and after, by git's modes: 0 is nothing.
type pathState struct {
	Path    []byte `json:"path"`
	OldMode uint32 `json:"old_mode"`
	NewMode uint32 `json:"new_mode"`
}

// ErrApplying says that another apply is under way in the repository.
var ErrApplying = errors.New("another apply is under way in this repository")

// ConflictError names what could not be merged. Nothing was changed.
type ConflictError struct{ Paths []string }

func (e *ConflictError) Error() string {
	const shown = 10
	names := make([]string, 0, shown)
	for _, p := range e.Paths[:min(shown, len(e.Paths))] {
		names = append(names, strconv.Quote(p))
	}
	text := strings.Join(names, ", ")
	if n := len(e.Paths) - shown; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return "both sides changed " + text
}

// EditedError names paths that were edited after an apply, and which taking it back
// would lose. Nothing was changed.
type EditedError struct{ Paths []string }

func (e *EditedError) Error() string {
	return "edited since then: " + strings.Join(e.Paths, ", ")
}

// lockRepository keeps other applies out until unlock.
func lockRepository(r *Repository) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(r.GitDir, journalLock), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrApplying
		}
		return nil, err
	}
	return func() {
		// A process that another goroutine starts at this moment has the descriptor
		// until it execs.
		unix.Flock(int(f.Fd()), unix.LOCK_UN)
		f.Close()
	}, nil
}

// Apply writes a merge into the user's tree: all of it or nothing. Files that are
// not as the merge saw them are a ChangedError, conflicts a *ConflictError. The
// user's index, refs and configuration stay as they are.
func (m *Merge) Apply(ctx context.Context, vmName string) error {
	if len(m.Conflicts) > 0 {
		return &ConflictError{m.Conflicts}
	}
	r := m.plan.Repo
	unlock, err := lockRepository(r)
	if err != nil {
		return err
	}
	defer unlock()
	if err := recoverLocked(r); err != nil {
		return err
	}
	if len(m.Changes) == 0 {
		return noteApplied(r, m.store.id(), m.theirs)
	}
	dir := filepath.Join(r.GitDir, journalDir)
	j := journal{Format: journalFormat, At: time.Now().UTC(), VM: vmName, Store: m.store.id(), Tree: m.theirs, Before: readApplied(r)[m.store.id()]}
	if err := m.prepare(ctx, dir, &j); err != nil {
		os.RemoveAll(dir) // nothing was changed
		return err
	}
	t := m.plan.files
	for n, p := range j.Paths {
		if err := t.change(p, filepath.Join(dir, "new", strconv.Itoa(n)), p.NewMode); err != nil {
			return errors.Join(err, takeBack(t, dir, j, false))
		}
	}
	if err := noteApplied(r, m.store.id(), m.theirs); err != nil {
		return errors.Join(err, takeBack(t, dir, j, false))
	}
	undo := filepath.Join(r.GitDir, undoDir)
	if err := os.RemoveAll(undo); err != nil {
		return err
	}
	return os.Rename(dir, undo)
}

// prepare writes the journal: what is there, and what will be.
func (m *Merge) prepare(ctx context.Context, dir string, j *journal) error {
	for _, d := range []string{dir, filepath.Join(dir, "old"), filepath.Join(dir, "new")} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return err
		}
	}
	if err := m.contents(ctx, filepath.Join(dir, "new")); err != nil {
		return err
	}
	for n, c := range m.Changes {
		name := string(c.Path)
		mode, err := m.plan.files.save(name, filepath.Join(dir, "old", strconv.Itoa(n)))
		if err != nil {
			return err
		}
		was, known := m.now[name]
		st, err := m.plan.files.stat(name)
		there := err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR
		if there != known || there && !was.stat.matches(st) {
			return &ChangedError{c.Path}
		}
		j.Paths = append(j.Paths, pathState{Path: c.Path, OldMode: mode, NewMode: c.NewMode})
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	text, err := json.Marshal(j)
	if err != nil {
		return err
	}
	// What the journal promises is on the disk before it is said.
	if err := syncTree(dir); err != nil {
		return err
	}
	return durable.Replace(filepath.Join(dir, journalFile), text)
}

func syncTree(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}

// change gives a path the content of a file and a mode; 0 removes it.
func (t *tree) change(p pathState, content string, mode uint32) error {
	if mode == 0 {
		return t.remove(string(p.Path))
	}
	return t.put(string(p.Path), content, mode, tempName)
}

// tempName is what a file in the tree is called until it is whole.
const tempName = ".banger-apply.tmp"

// takeBack gives each path what it held before. A path that holds neither that nor
// what the apply wrote was edited since: without force it stops everything before
// the first change.
func takeBack(t *tree, dir string, j journal, strict bool) error {
	var edited []string
	back := make([]bool, len(j.Paths))
	for n, p := range j.Paths {
		old, now := filepath.Join(dir, "old", strconv.Itoa(n)), filepath.Join(dir, "new", strconv.Itoa(n))
		is, err := t.equals(string(p.Path), p.OldMode, old)
		if err != nil {
			return err
		}
		if is {
			continue
		}
		if back[n], err = t.equals(string(p.Path), p.NewMode, now); err != nil {
			return err
		}
		if !back[n] {
			edited = append(edited, strconv.Quote(string(p.Path)))
		}
	}
	if len(edited) > 0 && strict {
		return &EditedError{edited}
	}
	// The last first: a directory that became a file is one again.
	for n := len(j.Paths) - 1; n >= 0; n-- {
		// A file that was being written when the apply was cut.
		name := string(j.Paths[n].Path)
		if err := t.unlink(path.Join(path.Dir(name), tempName)); err != nil && !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, unix.ELOOP) {
			return err
		}
		if !back[n] {
			if j.Paths[n].OldMode == 0 {
				t.prune(name) // directories that were made for it
			}
			continue
		}
		if err := t.change(j.Paths[n], filepath.Join(dir, "old", strconv.Itoa(n)), j.Paths[n].OldMode); err != nil {
			return fmt.Errorf("take back %q: %w; what it held is in %q", j.Paths[n].Path, err, dir)
		}
	}
	return os.RemoveAll(dir)
}

// Recover takes back an apply that was cut. It reports whether there was one.
func Recover(r *Repository) (bool, error) {
	if _, err := os.Lstat(filepath.Join(r.GitDir, journalDir)); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	unlock, err := lockRepository(r)
	if err != nil {
		return false, err
	}
	defer unlock()
	return true, recoverLocked(r)
}

func recoverLocked(r *Repository) error {
	dir := filepath.Join(r.GitDir, journalDir)
	j, err := readJournal(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return os.RemoveAll(dir) // it had changed nothing
	} else if err != nil {
		return err
	}
	t, err := openTree(r.Root)
	if err != nil {
		return err
	}
	defer t.Close()
	if err := noteApplied(r, j.Store, j.Before); err != nil {
		return err
	}
	return takeBack(t, dir, j, false)
}

// ErrNothingToUndo says that no apply can be taken back.
var ErrNothingToUndo = errors.New("no apply in this repository can be taken back")

// Undo takes back the last apply. Paths that were edited since are an *EditedError,
// and nothing is changed. It returns how many paths are as they were.
func Undo(r *Repository) (int, error) {
	unlock, err := lockRepository(r)
	if err != nil {
		return 0, err
	}
	defer unlock()
	if err := recoverLocked(r); err != nil {
		return 0, err
	}
	dir := filepath.Join(r.GitDir, undoDir)
	j, err := readJournal(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, ErrNothingToUndo
	} else if err != nil {
		return 0, err
	}
	t, err := openTree(r.Root)
	if err != nil {
		return 0, err
	}
	defer t.Close()
	if err := takeBack(t, dir, j, true); err != nil {
		return 0, err
	}
	return len(j.Paths), noteApplied(r, j.Store, j.Before)
}

func readJournal(dir string) (j journal, err error) {
	text, err := os.ReadFile(filepath.Join(dir, journalFile))
	if err != nil {
		return j, err
	}
	if err := json.Unmarshal(text, &j); err != nil {
		return j, fmt.Errorf("read %q: %w", filepath.Join(dir, journalFile), err)
	}
	if j.Format != journalFormat {
		return j, fmt.Errorf("%q has the format %d: this banger knows %d", dir, j.Format, journalFormat)
	}
	return j, nil
}
