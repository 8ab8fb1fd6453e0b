package workspace

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/durable"
)

// ErrApplying says that another apply is under way in the repository.
var ErrApplying = errors.New("another apply is under way in this repository")

// ConflictError names what could not be merged. Nothing was changed.
type ConflictError struct {
	Paths []string
	// With is what the work could not be merged with; "" is the work tree.
	With string
}

func (e *ConflictError) Error() string {
	if e.With != "" {
		return fmt.Sprintf("the work does not merge with %s, without your edits: %s", e.With, someNames(e.Paths))
	}
	return "both sides changed " + someNames(e.Paths)
}

// someNames lists paths, the first ten of them by name.
func someNames(paths []string) string {
	const shown = 10
	names := make([]string, 0, shown)
	for _, p := range paths[:min(shown, len(paths))] {
		names = append(names, strconv.Quote(p))
	}
	text := strings.Join(names, ", ")
	if n := len(paths) - shown; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return text
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

// transaction is an apply under way. Its steps come in an order that can be cut
// between any two of them.
type transaction struct {
	r   *Repository
	t   *tree
	dir string // the journal's
	j   journal
	was []*indexStat // of an apply's paths: nil is nothing, or a directory

	reached int  // how many paths may have been written
	left    left // by what takes it back
}

// Apply writes a merge into the user's tree: all of it or nothing. Files that are
// not as the merge saw them are a ChangedError, conflicts a *ConflictError, paths that
// can't be staged a *DirtyError; ErrIndexLocked says that a git is at work there. The
// user's index and branch change only if MergeOptions say so, other refs and the
// configuration never.
func (m *Merge) Apply(ctx context.Context) error {
	if err := m.Refused(); err != nil {
		return err
	}
	r := m.plan.Repo
	unlock, err := lockRepository(r)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := recoverLocked(ctx, r); err != nil {
		return err
	}
	if m.IsEmpty() {
		return noteApplied(r, m.store.id(), m.theirs)
	}
	tx, err := m.begin(ctx)
	if err != nil {
		return err
	}
	return tx.run(ctx)
}

// run does all that an apply does after its journal is written, or takes it back.
func (x *transaction) run(ctx context.Context) error {
	for _, step := range x.guards() {
		if err := step(ctx); err != nil { // nothing was changed
			return errors.Join(err, unlockIndex(x.r, x.dir), removeJournal(x.dir))
		}
	}
	for _, step := range x.changes() {
		if err := step(ctx); err != nil {
			err = errors.Join(err, x.takeBack(context.WithoutCancel(ctx)))
			if len(x.left.Edited) > 0 {
				err = fmt.Errorf("%w; %v", err, x.left)
			}
			return err
		}
	}
	return nil
}

// guards are what an apply does first when its journal is written: they keep git out.
func (x *transaction) guards() []func(context.Context) error {
	if x.j.Index == nil {
		return nil
	}
	return []func(context.Context) error{
		func(context.Context) error { return lockIndex(x.r, x.dir) },
		x.checkIndex,
	}
}

// changes are what an apply does then, in order.
func (x *transaction) changes() (steps []func(context.Context) error) {
	add := func(do func(context.Context) error) { steps = append(steps, do) }
	for n, p := range x.j.Paths {
		add(func(context.Context) error {
			if err := x.look(n); err != nil {
				return err
			}
			x.reached = n + 1
			return x.t.change(p, x.file("new", n), p.NewMode)
		})
	}
	switch {
	case x.j.Index == nil:
	case len(*x.j.Index) > 0:
		add(func(context.Context) error { return fillIndex(x.r, x.dir, filepath.Join(x.dir, indexNew)) })
		add(func(context.Context) error { return placeIndex(x.r, x.dir) })
	default: // it was locked to keep git out
		add(func(context.Context) error { return unlockIndex(x.r, x.dir) })
	}
	if x.j.Commit != nil { // the last, so that a branch that has moved says that all is done
		add(func(ctx context.Context) error { return x.j.Commit.move(ctx, x.r) })
	}
	return append(steps, x.ending()...)
}

// ending are the last steps: what was applied is noted, and the journal becomes that
// of the last apply.
func (x *transaction) ending() []func(context.Context) error {
	undo := filepath.Join(x.r.GitDir, undoDir)
	return []func(context.Context) error{
		func(context.Context) error { return noteApplied(x.r, x.j.Store, x.j.Tree) },
		func(context.Context) error { return removeJournal(undo) },
		func(context.Context) error { return os.Rename(x.dir, undo) },
	}
}

// file is the path of what a path holds, in old or in new.
func (x *transaction) file(when string, n int) string {
	return filepath.Join(x.dir, when, strconv.Itoa(n))
}

// begin writes the journal: what is there, and what will be. An error leaves nothing,
// but objects that no ref reaches.
func (m *Merge) begin(ctx context.Context) (*transaction, error) {
	r := m.plan.Repo
	x := &transaction{r: r, t: m.plan.files, dir: filepath.Join(r.GitDir, journalDir), j: journal{
		Format: journalFormat, At: time.Now().UTC(), VM: m.o.Name, Store: m.store.id(), Tree: m.theirs, Before: readApplied(r)[m.store.id()],
	}}
	err := m.giveStaged(ctx)
	if err == nil {
		err = m.prepare(ctx, x)
	}
	if err != nil {
		removeJournal(x.dir) // nothing was changed
		return nil, err
	}
	return x, nil
}

func (m *Merge) prepare(ctx context.Context, x *transaction) error {
	for _, d := range []string{x.dir, filepath.Join(x.dir, "old"), filepath.Join(x.dir, "new")} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return err
		}
	}
	if err := m.contents(ctx, filepath.Join(x.dir, "new")); err != nil {
		return err
	}
	for n, c := range m.Changes {
		name := string(c.Path)
		mode, err := x.t.save(name, x.file("old", n))
		if err != nil {
			return err
		}
		var was *indexStat
		if f, known := m.now[name]; known {
			was = &f.stat
		}
		st, there := x.t.fileStat(name)
		if there != (was != nil) || there && !was.matches(st) {
			return &ChangedError{c.Path}
		}
		x.was = append(x.was, was)
		x.j.Paths = append(x.j.Paths, pathState{Path: c.Path, OldMode: mode, NewMode: c.NewMode})
	}
	if m.staged != nil {
		if err := m.staged.keep(x.dir); err != nil {
			return err
		}
		x.j.Index = &m.staged.paths
	}
	x.j.Commit = m.commit
	if err := ctx.Err(); err != nil {
		return err
	}
	text, err := json.Marshal(x.j)
	if err != nil {
		return err
	}
	// What the journal promises is on the disk before it is said.
	if err := syncTree(x.dir); err != nil {
		return err
	}
	return durable.Replace(filepath.Join(x.dir, journalFile), text)
}

// look compares a path with what the merge saw, right before it is written: an edit that
// came while the journal was is not written over.
func (x *transaction) look(n int) error {
	name, was := x.j.Paths[n].Path, x.was[n]
	st, there := x.t.fileStat(string(name))
	if there != (was != nil) || there && !was.matchesContent(st) {
		return &ChangedError{name}
	}
	return nil
}

// fileStat tells what lies at a path, if it is there and is no directory.
func (t *tree) fileStat(name string) (st unix.Stat_t, there bool) {
	st, err := t.stat(name)
	return st, err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR
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
