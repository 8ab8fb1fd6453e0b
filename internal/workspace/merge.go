package workspace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"banger/internal/git"
)

// MergeOptions say what of a work is merged, and where it will go.
type MergeOptions struct {
	// Name is the VM's: conflict markers and the commit's message name it.
	Name string
	// Scratch is the directory in which the scratch repository is made.
	Scratch string
	// Paths are the files and directories that are merged, from the root; none means
	// all (Repository.Paths makes them).
	Paths []string
	// Markers has conflicts in text files that git tracks written as conflict markers.
	Markers bool
	// Index has what is changed staged in the user's index; Commit has it also committed
	// on the user's branch, with Message, "" for one that names the VM and its commits.
	Index, Commit bool
	Message       string
}

// Merge is a work, merged with what the user's tree is now. It holds a plan of the
// user's repository; Close removes that.
type Merge struct {
	NoChange  []string // the paths of MergeOptions that name no change of the work
	Changes   []Change // to the user's tree: what goes first, each in the order of paths
	Conflicts []string // paths that both sides changed, or that are in the way
	// Markable says that MergeOptions.Markers would write all of Conflicts.
	Markable bool
	// Marked are the paths that will have conflict markers.
	Marked []Marked
	// HeadConflicts are the paths where the work does not merge with HEAD.
	HeadConflicts []string
	// Dirty are the paths that can't be staged.
	Dirty []string
	// Pointers are the LFS files that Apply wrote as pointers, because their content is
	// not to be had, or because the user's git would not know it for one.
	Pointers []string
	// Reverted says that all of it was applied before, and that the user's tree has it no
	// longer: what the user changed since then stays.
	Reverted bool
	// Unsigned says that the user's configuration asks for signed commits, and that
	// this one will not be.
	Unsigned bool

	o       MergeOptions
	tree    string
	theirs  string // the work's tree, or base with what was chosen of it
	store   Store
	private map[string]bool
	marked  map[string]*conflict
	plan    *Plan
	now     map[string]File // the user's files
	adds    []string        // ids of what the commit has that HEAD has not
	staged  *staged         // nil leaves the index alone
	commit  *refMove        // nil makes no commit
}

// Change is a path that a merge changes in the user's tree.
type Change struct {
	Path             []byte
	OldMode, NewMode uint32 // git's; 0 is none
	// Risk says why it could run on the host; "" if it could not by itself.
	Risk string

	newID string // of the clean form
}

// Close removes the plan.
func (m *Merge) Close() { m.plan.Close() }

// IsEmpty reports whether there is nothing to apply.
func (m *Merge) IsEmpty() bool { return len(m.Changes) == 0 && m.commit == nil }

// Commit is the id of the commit to be; "" if there is none.
func (m *Merge) Commit() string {
	if m.commit == nil {
		return ""
	}
	return m.commit.To
}

// Refused says why the merge can't be applied.
func (m *Merge) Refused() error {
	switch {
	case len(m.NoChange) > 0:
		return &NoChangeError{m.NoChange}
	case len(m.Conflicts) > 0:
		return &ConflictError{Paths: m.Conflicts}
	case len(m.Dirty) > 0:
		return &DirtyError{m.Dirty}
	case len(m.HeadConflicts) > 0:
		return &ConflictError{Paths: m.HeadConflicts, With: "HEAD"}
	}
	return nil
}

// NewMerge merges a work with r's tree of this moment. The base of both is what went
// in, or what of this work was applied last. It changes nothing in r.
func NewMerge(ctx context.Context, r *Repository, s Store, w Work, o MergeOptions) (_ *Merge, err error) {
	i, err := s.Info()
	if err != nil {
		return nil, err
	}
	if r.Hash != i.Hash {
		return nil, fmt.Errorf("the repository %q has the object format %s, the work %s", r.Root, r.Hash, i.Hash)
	}
	base := i.Tree
	if last := readApplied(r)[s.id()]; isHex(last) {
		if _, err := s.git().Run(ctx, nil, "cat-file", "-e", last+"^{tree}"); err == nil {
			base = last
		}
	}
	target, unchanged, err := s.choose(ctx, o.Scratch, i.Tree, base, w.Tree, o.Paths)
	if err != nil {
		return nil, err
	}
	// What the guest changed may be there as a file that git does not know.
	var made []string
	for _, from := range slices.Compact([]string{i.Tree, base}) {
		theirs, err := changes(ctx, s.git(), from, target)
		if err != nil {
			return nil, err
		}
		for _, c := range theirs {
			if path.Base(string(c.Path)) == tempName {
				return nil, &NameError{c.Path, "it is what a file is called while it is written"}
			}
			made = append(made, string(c.Path))
		}
	}
	p, err := NewPlan(ctx, r, Options{Scratch: o.Scratch, Also: made, Submodules: LeaveSubmodules, keepIndex: o.Index || o.Commit})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	m := &Merge{o: o, plan: p, now: map[string]File{}, private: map[string]bool{}, marked: map[string]*conflict{}, theirs: target, store: s, NoChange: unchanged}
	for _, f := range p.Files {
		m.now[string(f.Path)] = f
	}
	for _, name := range i.Private {
		m.private[string(name)] = true
	}
	if err := p.s.alsoReads(s.repo()); err != nil {
		return nil, err
	}
	// A submodule's files are merged in its own repository.
	wentIn := i.Tree
	for _, tree := range []*string{&wentIn, &base, &target} {
		if *tree, err = p.s.withoutSubmodules(ctx, *tree); err != nil {
			return nil, err
		}
	}
	if err := m.intoTree(ctx, base, target); err != nil {
		return nil, fmt.Errorf("merge the work with %q: %w", r.Root, err)
	}
	if base == target && len(m.Changes) == 0 {
		got, err := p.merge(ctx, wentIn, p.Tree, target)
		if err != nil {
			return nil, err
		}
		m.Reverted = got.tree != p.Tree
	}
	if len(m.Conflicts) == 0 && (o.Index || o.Commit) {
		if err := m.intoIndex(ctx, s, i, w, base, target); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// intoTree merges with the user's work tree.
func (m *Merge) intoTree(ctx context.Context, base, theirs string) error {
	got, err := m.plan.merge(ctx, base, m.plan.Tree, theirs)
	if err != nil {
		return err
	}
	m.tree = got.tree
	if m.Changes, err = changes(ctx, m.plan.s.Git, m.plan.Tree, m.tree); err != nil {
		return err
	}
	if err := m.mark(ctx, got); err != nil {
		return err
	}
	return m.look()
}

// intoIndex makes the index and the commit to be.
func (m *Merge) intoIndex(ctx context.Context, s Store, i Info, w Work, base, theirs string) error {
	paths := map[string]bool{}
	for _, c := range m.Changes {
		paths[string(c.Path)] = true
	}
	var committed []Change
	if m.o.Commit {
		var err error
		if committed, err = m.commitWork(ctx, s, i, w, base, theirs); err != nil {
			return err
		}
		for _, c := range committed {
			paths[string(c.Path)] = true
			if c.NewMode != 0 {
				m.adds = append(m.adds, c.newID)
			}
		}
	}
	for name := range m.private {
		delete(paths, name)
	}
	m.Dirty = m.dirty(slices.Sorted(maps.Keys(paths)))
	if m.Refused() != nil {
		return nil
	}
	if err := m.stage(ctx); err != nil {
		return fmt.Errorf("make the index: %w", err)
	}
	return s.refusePrivate(ctx, i, w, slices.Concat(m.Changes, committed))
}

// alsoReads gives a scratch repository the objects of another one.
func (s *scratch) alsoReads(repo string) error {
	f, err := os.OpenFile(filepath.Join(s.repo, "objects", "info", "alternates"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString(git.Quote(filepath.Join(repo, "objects")) + "\n"); err != nil {
		return err
	}
	return f.Close()
}

// changes lists in what two trees differ.
func changes(ctx context.Context, g git.Git, from, to string) (list []Change, err error) {
	err = rawChanges(ctx, g, nil, func(c Change) error {
		c.Risk = risk(c)
		list = append(list, c)
		return nil
	}, "diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-abbrev", from, to)
	return list, err
}

// rawChanges passes on the changes that a command of git's lists with -z --raw.
func rawChanges(ctx context.Context, g git.Git, in io.Reader, each func(Change) error, args ...string) error {
	var head []string
	return g.Names(ctx, in, func(field []byte) error {
		if len(field) > 0 && field[0] == ':' && head == nil {
			head = strings.Fields(string(field[1:]))
			return nil
		}
		if len(field) == 0 && head == nil { // between commits
			return nil
		}
		if len(head) != 5 {
			return fmt.Errorf("git diff-tree says %q", head)
		}
		c := Change{Path: field}
		for i, mode := range []*uint32{&c.OldMode, &c.NewMode} {
			n, err := strconv.ParseUint(head[i], 8, 32)
			if err != nil {
				return err
			}
			*mode = uint32(n)
		}
		c.newID, head = head[3], nil
		return each(c)
	}, args...)
}

// look puts the changes in order, and finds what is in their way.
func (m *Merge) look() error {
	// What goes makes room: a directory may have become a file.
	slices.SortStableFunc(m.Changes, func(a, b Change) int { return min(int(a.NewMode), 1) - min(int(b.NewMode), 1) })
	goes := map[string]bool{}
	for _, c := range m.Changes {
		if c.NewMode == 0 {
			goes[string(c.Path)] = true
			continue
		}
		if _, tracked := m.now[string(c.Path)]; tracked {
			continue
		}
		in, err := m.plan.files.inTheWay(string(c.Path), goes)
		if err != nil {
			return err
		}
		m.Conflicts = append(m.Conflicts, in...)
		m.Markable = m.Markable && len(in) == 0
	}
	slices.Sort(m.Conflicts)
	m.Conflicts = slices.Compact(m.Conflicts)
	return nil
}

// inTheWay returns what is where a new file is to come: something that git does not
// know. Paths that go are not.
func (t *tree) inTheWay(name string, goes map[string]bool) (paths []string, err error) {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if st, err := t.stat(dir); err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR && !goes[dir] {
			return []string{dir}, nil
		}
	}
	st, err := t.stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		if goes[name] {
			return nil, nil
		}
		return []string{name}, nil
	}
	f, err := t.open(name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		in, err := t.inTheWay(path.Join(name, n), goes)
		if err != nil {
			return nil, err
		}
		paths = append(paths, in...)
	}
	return paths, nil
}

// contents writes the new content of each change into dir, a file each, named by
// its number, as the user's work tree has it: line endings and encodings by git's
// own conversions and the merged tree's attributes. Links are files that hold their
// target. No filter of git's runs.
func (m *Merge) contents(ctx context.Context, dir string) error {
	out := filepath.Join(filepath.Dir(dir), "merged") // on the same file system: files move from it
	if err := os.Mkdir(out, 0o700); err != nil {
		return err
	}
	defer os.RemoveAll(out)
	g := hostGit(m.plan.s.repo, out, "GIT_INDEX_FILE="+filepath.Join(m.plan.s.dir, "merged.index"))
	if _, err := g.Run(ctx, nil, "read-tree", m.tree); err != nil {
		return err
	}
	var names bytes.Buffer
	for _, c := range m.Changes {
		if c.NewMode != 0 {
			names.Write(append(bytes.Clone(c.Path), 0))
		}
	}
	if _, err := g.Run(ctx, &names, "-c", "core.symlinks=false", "checkout-index", "-f", "-z", "--stdin"); err != nil {
		return err
	}
	for n, c := range m.Changes {
		if c.NewMode == 0 {
			continue
		}
		at := filepath.Join(dir, strconv.Itoa(n))
		if err := os.Rename(filepath.Join(out, string(c.Path)), at); err != nil {
			return err
		}
		if c.NewMode == modeLink {
			if err := checkTarget(c.Path, at); err != nil {
				return err
			}
		}
	}
	return m.smudge(ctx, g, dir)
}

// checkTarget refuses a link to what the file at holds, if no link can lead there.
func checkTarget(path []byte, at string) error {
	fi, err := os.Lstat(at)
	if err != nil {
		return err
	}
	target := []byte{}
	if fi.Size() < unix.PathMax {
		if target, err = os.ReadFile(at); err != nil {
			return err
		}
	}
	if len(target) == 0 || bytes.IndexByte(target, 0) >= 0 {
		return &NameError{path, "it is a link to what can't be a path"}
	}
	return nil
}
