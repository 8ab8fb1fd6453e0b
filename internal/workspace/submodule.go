package workspace

import (
	"bytes"
	"context"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"banger/internal/hint"
)

// Submodules says what a plan does with submodules.
type Submodules int

// What becomes of submodules.
const (
	RefuseSubmodules Submodules = iota
	// TakeSubmodules makes a plan of each that is checked out. One that is not stays an
	// empty directory.
	TakeSubmodules
	// LeaveSubmodules leaves them out of the plan's tree.
	LeaveSubmodules
)

// maxDepth bounds how deep submodules lie in one another.
const maxDepth = 16

// openSubmodules makes the plans of the submodules that are checked out, and of theirs.
func (p *Plan) openSubmodules(ctx context.Context, o Options) error {
	if o.Submodules == LeaveSubmodules {
		return nil
	}
	last := ""
	for _, e := range p.entries {
		name := string(e.Path)
		if e.Mode != modeGitlink || name == last { // a conflict's other stages
			continue
		}
		last = name
		if o.Submodules == RefuseSubmodules {
			return hint.Add(fmt.Errorf("%q is a submodule: only files go in", e.Path), "--mode full brings submodules; or name the submodule's own directory, which is a repository of its own")
		}
		if _, err := p.files.stat(filepath.Join(name, dotGit)); err != nil {
			continue // not checked out
		}
		if p.depth == maxDepth {
			return fmt.Errorf("%q: submodules lie more than %d deep in one another", name, maxDepth)
		}
		r, err := Open(ctx, filepath.Join(p.Repo.Root, name), "")
		if err != nil {
			return fmt.Errorf("open the submodule %q: %w", name, err)
		}
		m, err := newPlan(ctx, r, o, p.depth+1)
		if err != nil {
			return err
		}
		for _, inner := range m.All() {
			inner.At = path.Join(name, inner.At)
		}
		p.Submodules = append(p.Submodules, m)
		if m.Head == "" {
			return fmt.Errorf("the submodule %q has no commit", name)
		}
	}
	return nil
}

// linkSubmodules brings the commits at which the submodules are into the index, as git
// add does. One that is not checked out and in a conflict is at the conflict's first.
func (p *Plan) linkSubmodules(ctx context.Context) error {
	var links bytes.Buffer
	for _, e := range p.unlinked {
		fmt.Fprintf(&links, "160000 %x\t%s\x00", e.ID, e.Path)
	}
	for _, m := range p.Submodules {
		fmt.Fprintf(&links, "160000 %s\t%s\x00", m.Head, m.At)
	}
	if links.Len() == 0 {
		return nil
	}
	_, err := p.s.Run(ctx, &links, "update-index", "-z", "--index-info")
	return err
}

// All are the plan and those of its submodules, and of theirs, an outer one before
// those in it. Their At counts from this plan.
func (p *Plan) All() []*Plan {
	all := []*Plan{p}
	for _, m := range p.Submodules {
		all = append(all, m.All()...)
	}
	return all
}

// submodulePaths are where the submodules are that went in.
func (p *Plan) submodulePaths() (paths [][]byte) {
	for _, m := range p.Submodules {
		paths = append(paths, []byte(strings.TrimPrefix(strings.TrimPrefix(m.At, p.At), "/")))
	}
	return paths
}

// withoutSubmodules is a tree without its submodules.
func (s *scratch) withoutSubmodules(ctx context.Context, tree string) (string, error) {
	var links [][]byte
	err := s.Names(ctx, nil, func(line []byte) error {
		if path, found := treePath(line, "160000 "); found {
			links = append(links, path)
		}
		return nil
	}, "ls-tree", "-r", "-z", "--full-tree", tree)
	if err != nil || len(links) == 0 {
		return tree, err
	}
	return treeWithout(ctx, s.Git, filepath.Join(s.dir, "without.index"), tree, links)
}
