package workspace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"banger/internal/git"
	"banger/internal/lfs"
	"banger/internal/workspace/wire"
)

// maxMarked bounds a file that gets conflict markers, in bytes.
const maxMarked = 64 << 20

// labelOurs is what conflict markers call the user's side; the other is the VM's name.
const labelOurs = "work tree"

// Marked is a file with conflict markers, and how many conflicts are in it.
type Marked struct {
	Path      []byte
	Conflicts int
}

// merged is what a three-way merge of trees gives. Its markers name the commits that
// were made for it.
type merged struct {
	tree         string
	conflicts    []*conflict // in the order of their paths
	ours, theirs string      // commits
}

// conflict is a path that could not be merged.
type conflict struct {
	path   string
	stages []wire.Entry // as in an index: 1 is the base's, 2 ours, 3 theirs
	// content says that the two sides changed it in the same place, and other that
	// something else is in the way as well.
	content, other bool
}

// merge merges trees. git merge-tree wants commits, and finds their base by itself: so
// the base is both sides' parent.
func (p *Plan) merge(ctx context.Context, base, ours, theirs string) (m merged, err error) {
	own := p.s.Git
	own.Memory = guestMemory
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
		return m, err
	}
	if m.ours, err = commit(ours, b); err != nil {
		return m, err
	}
	if m.theirs, err = commit(theirs, b); err != nil {
		return m, err
	}
	// A file of one side's stays in its directory, though the other renamed that.
	out, err := own.Run(ctx, nil, "-c", "merge.directoryRenames=false", "merge-tree", "--write-tree", "-z", "--messages", m.ours, m.theirs)
	var failed *git.Error
	if err != nil && !(errors.As(err, &failed) && failed.Status() == 1) {
		return m, err
	}
	fields := strings.Split(string(out), "\x00")
	m.tree = fields[0]
	if err == nil {
		return m, nil
	}
	return m, m.parse(fields[1:])
}

// parse reads what git merge-tree -z says after the tree: "MODE ID STAGE\tPATH" each,
// an empty field, and messages, each the number of its paths, the paths, its kind and
// its text (git-merge-tree(1)).
func (m *merged) parse(fields []string) error {
	at := map[string]*conflict{}
	of := func(path string) *conflict {
		if at[path] == nil {
			at[path] = &conflict{path: path}
			m.conflicts = append(m.conflicts, at[path])
		}
		return at[path]
	}
	for ; len(fields) > 0 && fields[0] != ""; fields = fields[1:] {
		e, err := parseStaged([]byte(fields[0]))
		if err != nil {
			return fmt.Errorf("git merge-tree: %w", err)
		}
		c := of(string(e.Path))
		c.stages = append(c.stages, e)
	}
	for fields = fields[min(1, len(fields)):]; len(fields) > 0 && fields[0] != ""; {
		n, err := strconv.Atoi(fields[0])
		if err != nil || n < 0 || len(fields) < n+3 {
			return fmt.Errorf("git merge-tree says %.200q", fields[0])
		}
		for _, path := range fields[1 : n+1] {
			switch kind := fields[n+1]; {
			case kind == "CONFLICT (contents)":
				of(path).content = true
			case strings.HasPrefix(kind, "CONFLICT"):
				of(path).other = true
			}
		}
		fields = fields[n+3:]
	}
	slices.SortFunc(m.conflicts, func(a, b *conflict) int { return strings.Compare(a.path, b.path) })
	return nil
}

// isText reports whether a conflict is one that markers can show: both sides have a
// file there, and changed its text in the same place.
func (c *conflict) isText() bool {
	sides := 0
	for _, e := range c.stages {
		if e.Stage > 1 && (e.Mode == modeFile || e.Mode == modeExec) {
			sides++
		}
	}
	return c.content && !c.other && sides == 2
}

// canMark reports whether a conflict can have markers: git knows the path, and neither
// side is the pointer of an LFS file, whose content can have none.
func (m *Merge) canMark(ctx context.Context, c *conflict) (can bool, err error) {
	if can = c.isText() && len(m.plan.entriesAt(c.path)) > 0; !can {
		return false, nil
	}
	var ids strings.Builder
	for _, e := range c.stages {
		fmt.Fprintf(&ids, "%x\n", e.ID)
	}
	err = readBlobs(ctx, m.plan.s.Git, strings.NewReader(ids.String()), func(b blob) error {
		_, large := lfs.Parse(b.text)
		can = can && !large
		return nil
	})
	return can, err
}

// mark gives the files of conflicts their markers, if that is asked for and can be;
// what is left is in m.Conflicts.
func (m *Merge) mark(ctx context.Context, got merged) error {
	m.Markable = true
	var lines bytes.Buffer
	for _, k := range got.conflicts {
		n := slices.IndexFunc(m.Changes, func(c Change) bool { return string(c.Path) == k.path })
		count := 0
		can, err := m.canMark(ctx, k)
		if err != nil {
			return err
		}
		if n >= 0 && can {
			id, conflicts, err := m.label(ctx, m.Changes[n].newID, got)
			if err != nil {
				return err
			}
			if count = conflicts; count > 0 && m.o.Markers {
				m.Changes[n].newID = id
				m.marked[k.path] = k
				m.Marked = append(m.Marked, Marked{m.Changes[n].Path, count})
				fmt.Fprintf(&lines, "%o %s\t%s\x00", m.Changes[n].NewMode, id, k.path)
			}
		}
		m.Markable = m.Markable && count > 0
		if count == 0 || !m.o.Markers {
			m.Conflicts = append(m.Conflicts, k.path)
		}
	}
	if lines.Len() == 0 {
		return nil
	}
	tree, err := editTree(ctx, m.plan.s.Git, filepath.Join(m.plan.s.dir, "marked.index"), m.tree, &lines)
	m.tree = tree
	return err
}

// label makes a file of one with conflict markers in which these name the sides, and
// not commits. It returns its id and the number of conflicts; 0 if they can't be shown.
func (m *Merge) label(ctx context.Context, id string, got merged) (string, int, error) {
	g := m.plan.s.Git
	size, err := g.Line(ctx, nil, "cat-file", "-s", id)
	if err != nil {
		return "", 0, err
	}
	if n, err := strconv.Atoi(size); err != nil || n > maxMarked {
		return "", 0, err
	}
	text, err := g.Run(ctx, nil, "cat-file", "blob", id)
	if err != nil {
		return "", 0, err
	}
	count := bytes.Count(text, []byte("< "+got.ours))
	if count == 0 {
		return "", 0, nil
	}
	text = bytes.ReplaceAll(text, []byte("< "+got.ours), []byte("< "+labelOurs))
	text = bytes.ReplaceAll(text, []byte("> "+got.theirs), []byte("> "+m.o.Name))
	id, err = g.Line(ctx, bytes.NewReader(text), "hash-object", "-w", "--stdin")
	return id, count, err
}
