package workspace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"banger/internal/git"
	"banger/internal/workspace/wire"
)

// indexSeen is a journal's copy of the index, byte for byte as the merge read it.
const indexSeen = "index.seen"

// staged is what an apply does to the user's index. It is made in scratch.
type staged struct {
	seen string // the index as it was read; not there if there was none
	old  string // the same for an undo: it needs no other file
	next string // the index to be
	// paths are those whose entries change.
	paths []indexState
	give  []string // ids of the objects that next names, and that the user may not have
}

// indexState is what an index holds at a path before and after: one entry, those of a
// conflict, or none.
type indexState struct {
	Path []byte        `json:"path"`
	Old  []stagedEntry `json:"old,omitempty"`
	New  []stagedEntry `json:"new,omitempty"`
}

type stagedEntry struct {
	Mode  uint32 `json:"mode"` // git's
	ID    string `json:"id"`
	Stage uint8  `json:"stage,omitempty"`
}

// DirtyError names paths that can't be staged, because the index has them otherwise
// than the work tree. Nothing was changed.
type DirtyError struct{ Paths []string }

func (e *DirtyError) Error() string {
	return "in the index otherwise than in the work tree: " + someNames(e.Paths)
}

// dirty returns which of paths the index has otherwise than the work tree, or has a
// file or directory in the way of.
func (m *Merge) dirty(paths []string) (dirty []string) {
	entries := m.plan.entries
	goes := map[string]bool{}
	for _, c := range m.Changes {
		goes[string(c.Path)] = c.NewMode == 0
	}
	for _, name := range paths {
		_, there := m.now[name]
		switch es := m.plan.entriesAt(name); {
		case len(es) == 0:
			if there {
				dirty = append(dirty, name)
			}
		case len(es) > 1, es[0].Stage != 0, es[0].Bits&wire.IntentToAdd != 0:
			dirty = append(dirty, name)
		case es[0].Bits&wire.SkipWorktree != 0 && !there: // outside of a sparse checkout
		case !m.plan.same[name]:
			dirty = append(dirty, name)
		}
		if goes[name] {
			continue
		}
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if len(m.plan.entriesAt(dir)) > 0 && !goes[dir] {
				dirty = append(dirty, dir)
			}
		}
		for i, _ := m.plan.findEntry(name + "/"); i < len(entries) && strings.HasPrefix(string(entries[i].Path), name+"/"); i++ {
			if below := string(entries[i].Path); !goes[below] {
				dirty = append(dirty, below)
			}
		}
	}
	slices.Sort(dirty)
	return slices.Compact(dirty)
}

// findEntry is where a path is in the user's index, or would be.
func (p *Plan) findEntry(name string) (int, bool) {
	return slices.BinarySearchFunc(p.entries, []byte(name), func(e entry, name []byte) int { return bytes.Compare(e.Path, name) })
}

// entriesAt are the entries of the user's index at a path: several in a conflict.
func (p *Plan) entriesAt(name string) []entry {
	i, found := p.findEntry(name)
	if !found {
		return nil
	}
	end := i
	for end < len(p.entries) && string(p.entries[end].Path) == name {
		end++
	}
	return p.entries[i:end]
}

// stage makes the index to be, in scratch: the user's with the changed paths as the
// merge has them. Private paths are left out.
func (m *Merge) stage(ctx context.Context) error {
	s := m.plan.s
	st := &staged{seen: filepath.Join(s.dir, indexSeen), old: filepath.Join(s.dir, indexOld), next: filepath.Join(s.dir, indexNew), paths: []indexState{}}
	for _, to := range []string{st.old, st.next} {
		if err := copyRegular(to, st.seen); err != nil {
			return err
		}
	}
	var lines bytes.Buffer
	for _, c := range m.Changes {
		if m.private[string(c.Path)] {
			continue
		}
		is := indexState{Path: c.Path, New: m.newEntries(c)}
		for _, e := range m.plan.entriesAt(string(c.Path)) {
			is.Old = append(is.Old, stagedEntry{e.Mode, fmt.Sprintf("%x", e.ID), e.Stage})
		}
		is.write(&lines, is.New)
		for _, e := range is.New {
			st.give = append(st.give, e.ID)
		}
		st.paths = append(st.paths, is)
	}
	if err := updateIndex(ctx, s.Git, st.next, &lines); err != nil {
		return err
	}
	m.staged = st
	_, err := os.Lstat(st.seen)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	// A split index needs a file that git removes when it is old.
	old := s.withIndex(st.old)
	if shared, err := old.Line(ctx, nil, "rev-parse", "--shared-index-path"); err != nil {
		return err
	} else if shared != "" {
		if _, err := old.Run(ctx, nil, "update-index", "--no-split-index"); err != nil {
			return err
		}
	}
	return errors.Join(sameTime(st.old, st.seen), sameTime(st.next, st.seen))
}

// newEntries are what the index holds at a changed path afterwards.
func (m *Merge) newEntries(c Change) (es []stagedEntry) {
	if k := m.marked[string(c.Path)]; k != nil {
		for _, e := range k.stages {
			es = append(es, stagedEntry{e.Mode, fmt.Sprintf("%x", e.ID), e.Stage})
		}
		return es
	}
	if c.NewMode == 0 {
		return nil
	}
	return []stagedEntry{{c.NewMode, c.newID, 0}}
}

// write writes the lines of update-index --index-info that give a path entries: none
// of the old ones stays.
func (is indexState) write(lines *bytes.Buffer, entries []stagedEntry) {
	zero := 40
	for _, e := range slices.Concat(is.Old, is.New) {
		zero = len(e.ID)
	}
	fmt.Fprintf(lines, "0 %s\t%s\x00", strings.Repeat("0", zero), is.Path)
	for _, e := range entries {
		fmt.Fprintf(lines, "%o %s %d\t%s\x00", e.Mode, e.ID, e.Stage, is.Path)
	}
}

// withIndex is the scratch repository with another index.
func (s *scratch) withIndex(file string) git.Git {
	g := s.Git
	g.Env = append(slices.Clone(g.Env), "GIT_INDEX_FILE="+file)
	return g
}

func updateIndex(ctx context.Context, g git.Git, file string, lines *bytes.Buffer) error {
	if lines.Len() == 0 {
		return nil
	}
	g.Env = append(slices.Clone(g.Env), "GIT_INDEX_FILE="+file)
	_, err := g.Run(ctx, lines, "update-index", "-z", "--index-info")
	return err
}

// sameTime gives a file the time of another one.
func sameTime(file, as string) error {
	fi, err := os.Lstat(as)
	if err != nil {
		return err
	}
	return os.Chtimes(file, fi.ModTime(), fi.ModTime())
}

// keep copies the indexes into a journal.
func (st *staged) keep(dir string) error {
	for _, from := range []string{st.seen, st.old, st.next} {
		if err := copyRegular(filepath.Join(dir, filepath.Base(from)), from); err != nil {
			return err
		}
	}
	return nil
}

// oldIndex makes the index that taking an apply back leads to, in the journal, and
// returns its name: the old one if the index is as the apply left it, else the present
// one with the old entries of the apply's paths. "" says that the index is not to
// change. Entries that were changed since stay, and are named.
func (x *transaction) oldIndex(ctx context.Context) (file string, edited []string, err error) {
	if len(*x.j.Index) == 0 {
		return "", nil, nil
	}
	s, err := newScratch(x.dir, x.r)
	if err != nil {
		return "", nil, err
	}
	defer s.Close()
	now, err := readIndex(ctx, s.Git)
	if err != nil {
		return "", nil, err
	}
	left, err := readIndex(ctx, s.withIndex(filepath.Join(x.dir, indexNew)))
	if err != nil {
		return "", nil, err
	}
	if sameEntries(now, left) {
		return filepath.Join(x.dir, indexOld), nil, nil
	}
	have := map[string][]stagedEntry{}
	for _, e := range now {
		have[string(e.Path)] = append(have[string(e.Path)], stagedEntry{e.Mode, fmt.Sprintf("%x", e.ID), e.Stage})
	}
	var lines bytes.Buffer
	for _, is := range *x.j.Index {
		switch at := have[string(is.Path)]; {
		case slices.Equal(at, is.Old):
		case slices.Equal(at, is.New):
			is.write(&lines, is.Old)
		default:
			edited = append(edited, string(is.Path))
		}
	}
	if lines.Len() == 0 {
		return "", edited, nil
	}
	file = filepath.Join(x.dir, "index.back")
	if err := errors.Join(os.RemoveAll(file), copyRegular(file, filepath.Join(x.r.GitDir, "index"))); err != nil {
		return "", nil, err
	}
	if err := updateIndex(ctx, s.Git, file, &lines); err != nil {
		return "", nil, err
	}
	if err := x.oldBits(ctx, s, file, edited); err != nil {
		return "", nil, err
	}
	return file, edited, sameTime(file, filepath.Join(x.r.GitDir, "index"))
}

// oldBits gives the entries of an index the marks that the old ones had, but for those
// of except.
func (x *transaction) oldBits(ctx context.Context, s *scratch, file string, except []string) error {
	old, err := readIndex(ctx, s.withIndex(filepath.Join(x.dir, indexOld)))
	if err != nil {
		return err
	}
	ours := map[string]bool{}
	for _, is := range *x.j.Index {
		ours[string(is.Path)] = true
	}
	for _, name := range except {
		delete(ours, name)
	}
	for mark, option := range map[uint8]string{wire.AssumeUnchanged: "--assume-unchanged", wire.SkipWorktree: "--skip-worktree"} {
		var names bytes.Buffer
		for _, e := range old {
			if e.Bits&mark != 0 && ours[string(e.Path)] {
				names.Write(append(bytes.Clone(e.Path), 0))
			}
		}
		if names.Len() == 0 {
			continue
		}
		if _, err := s.withIndex(file).Run(ctx, &names, "update-index", option, "-z", "--stdin"); err != nil {
			return err
		}
	}
	return nil
}

// indexBack puts the old index in place. It needs git's lock.
func (x *transaction) indexBack(ctx context.Context) error {
	file, _, err := x.oldIndex(ctx)
	if err != nil || file == "" {
		return err
	}
	if _, err := os.Lstat(file); errors.Is(err, fs.ErrNotExist) { // there was none
		return os.Remove(filepath.Join(x.r.GitDir, "index"))
	}
	if err := fillIndex(x.r, x.dir, file); err != nil {
		return err
	}
	return placeIndex(x.r, x.dir)
}

// sameEntries reports whether two indexes hold the same; stat data do not count.
func sameEntries(a, b []entry) bool {
	return slices.EqualFunc(a, b, func(a, b entry) bool {
		return a.Mode == b.Mode && a.Stage == b.Stage && a.Bits == b.Bits && bytes.Equal(a.ID, b.ID) && bytes.Equal(a.Path, b.Path)
	})
}
