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
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"banger/internal/git"
)

// Merge is a work, merged with what the user's tree is now. It holds a plan of the
// user's repository; Close removes that.
type Merge struct {
	Changes   []Change // to the user's tree: what goes first, each in the order of paths
	Conflicts []string // paths that both sides changed, or that are in the way
	// Pointers are the LFS files that Apply wrote as pointers, because their content is
	// not to be had, or because the user's git would not know it for one.
	Pointers []string
	tree     string
	theirs   string // the work's tree
	store    Store
	plan     *Plan
	now      map[string]File // the user's files
}

// Change is a path that a merge changes in the user's tree.
type Change struct {
	Path             []byte
	OldMode, NewMode uint32 // git's; 0 is none
	// Risk says why it could run on the host; "" if it could not by itself.
	Risk string
}

// Close removes the plan.
func (m *Merge) Close() { m.plan.Close() }

// NewMerge merges a work with r's tree of this moment. The base of both is what went
// in, or what of this work was applied last. It changes nothing in r.
func NewMerge(ctx context.Context, r *Repository, s Store, w Work, scratchDir string) (_ *Merge, err error) {
	i, err := s.Info()
	if err != nil {
		return nil, err
	}
	if r.Hash != i.Hash {
		return nil, fmt.Errorf("the repository %q has the object format %s, the work %s", r.Root, r.Hash, i.Hash)
	}
	base := i.Tree
	if last := readApplied(r)[s.id()]; last != "" {
		if _, err := s.git().Run(ctx, nil, "cat-file", "-e", last+"^{tree}"); err == nil {
			base = last
		}
	}
	// What the guest changed may be there as a file that git does not know.
	theirs, err := changes(ctx, s.git(), base, w.Tree)
	if err != nil {
		return nil, err
	}
	var made []string
	for _, c := range theirs {
		made = append(made, string(c.Path))
	}
	p, err := NewPlan(ctx, r, Options{Scratch: scratchDir, Also: made, Submodules: LeaveSubmodules})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	m := &Merge{plan: p, now: map[string]File{}, theirs: w.Tree, store: s}
	for _, f := range p.Files {
		m.now[string(f.Path)] = f
	}
	if err := p.s.alsoReads(s.repo()); err != nil {
		return nil, err
	}
	// A submodule's files are merged in its own repository.
	if base, err = p.s.withoutSubmodules(ctx, base); err != nil {
		return nil, err
	}
	plain, err := p.s.withoutSubmodules(ctx, w.Tree)
	if err != nil {
		return nil, err
	}
	if err := m.merge(ctx, base, plain); err != nil {
		return nil, fmt.Errorf("merge the work with %q: %w", r.Root, err)
	}
	return m, m.look(ctx)
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

// merge makes the merged tree. git merge-tree wants commits, and finds their base by
// itself: so the base is both sides' parent.
func (m *Merge) merge(ctx context.Context, base, theirs string) error {
	own := m.plan.s.Git
	own.Env = append(slices.Clone(own.Env), commitEnv...)
	commit := func(tree string, parents ...string) (string, error) {
		args := []string{"commit-tree", tree, "-m", "for a merge"}
		for _, p := range parents {
			args = append(args, "-p", p)
		}
		return own.Line(ctx, nil, args...)
	}
	b, err := commit(base)
	if err != nil {
		return err
	}
	ours, err := commit(m.plan.Tree, b)
	if err != nil {
		return err
	}
	guests, err := commit(theirs, b)
	if err != nil {
		return err
	}
	out, err := own.Run(ctx, nil, "merge-tree", "--write-tree", "-z", "--name-only", "--no-messages", ours, guests)
	var failed *git.Error
	if err != nil && !(errors.As(err, &failed) && failed.Status() == 1) {
		return err
	}
	fields := strings.Split(strings.TrimRight(string(out), "\x00"), "\x00")
	m.tree = fields[0]
	if err != nil {
		for _, name := range fields[1:] {
			if name != "" {
				m.Conflicts = append(m.Conflicts, name)
			}
		}
	}
	return nil
}

// changes lists in what two trees differ.
func changes(ctx context.Context, g git.Git, from, to string) (list []Change, err error) {
	var head []string
	err = g.Names(ctx, nil, func(field []byte) error {
		if len(field) > 0 && field[0] == ':' && head == nil {
			head = strings.Fields(string(field[1:]))
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
		c.Risk, head = risk(c), nil
		list = append(list, c)
		return nil
	}, "diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-abbrev", from, to)
	return list, err
}

// look lists the changes and what is in their way.
func (m *Merge) look(ctx context.Context) (err error) {
	if m.Changes, err = changes(ctx, m.plan.s.Git, m.plan.Tree, m.tree); err != nil {
		return err
	}
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
		if err := os.Rename(filepath.Join(out, string(c.Path)), filepath.Join(dir, strconv.Itoa(n))); err != nil {
			return err
		}
	}
	return m.smudge(ctx, g, dir)
}
