package workspace

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// NoChangeError names paths that were chosen and in which a work changed nothing.
type NoChangeError struct{ Paths []string }

func (e *NoChangeError) Error() string { return "nothing was changed in " + someNames(e.Paths) }

// Paths returns paths as they are typed in the directory cwd, from r's root: relative
// to cwd if that is in the work tree, as git does, else to the root. Nothing of them
// needs to be there. A path out of the repository is an error.
func (r *Repository) Paths(cwd string, typed []string) (paths []string, err error) {
	if real, err := filepath.EvalSymlinks(cwd); err == nil {
		cwd = real
	}
	if !isBelow(r.Root, cwd) {
		cwd = r.Root
	}
	for _, p := range typed {
		abs := filepath.Clean(p)
		if !filepath.IsAbs(abs) {
			abs = filepath.Join(cwd, p)
		} else if real, err := filepath.EvalSymlinks(filepath.Dir(abs)); err == nil && !isBelow(r.Root, abs) {
			abs = filepath.Join(real, filepath.Base(abs)) // by way of a link, as of a home directory's
		}
		rel, err := filepath.Rel(r.Root, abs)
		if err != nil || !isBelow(r.Root, abs) || p == "" {
			return nil, fmt.Errorf("%q is not in the repository %q", p, r.Root)
		}
		paths = append(paths, rel)
	}
	return paths, nil
}

// isBelow reports whether path is dir or lies in it. Both are absolute and clean.
func isBelow(dir, path string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// isChosen reports whether one of paths is name or a directory that it is in; "." is
// the root.
func isChosen(paths []string, name string) bool {
	return slices.ContainsFunc(paths, func(p string) bool { return p == "." || isBelow(p, name) })
}

// choose makes the tree that an apply of some paths leads to: base, with what the work
// has at them. It stays in the store, for the next apply begins with it. Without paths
// it is the work's. It returns the paths that name no change, neither since what went in
// nor since base.
func (s Store) choose(ctx context.Context, scratchDir, wentIn, base, work string, paths []string) (tree string, unknown []string, err error) {
	if len(paths) == 0 {
		return work, nil, nil
	}
	since, err := changes(ctx, s.git(), base, work)
	if err != nil {
		return "", nil, err
	}
	all, err := changes(ctx, s.git(), wentIn, work)
	if err != nil {
		return "", nil, err
	}
	for _, p := range paths {
		named := func(c Change) bool { return isChosen([]string{p}, string(c.Path)) }
		if !slices.ContainsFunc(since, named) && !slices.ContainsFunc(all, named) {
			unknown = append(unknown, p)
		}
	}
	var lines bytes.Buffer
	for _, c := range since {
		if isChosen(paths, string(c.Path)) { // a mode of 0 removes
			fmt.Fprintf(&lines, "%o %s\t%s\x00", c.NewMode, c.newID, c.Path)
		}
	}
	temp, err := NewLease(scratchDir)
	if err != nil {
		return "", nil, err
	}
	defer temp.Close()
	tree, err = editTree(ctx, s.git(), filepath.Join(temp.Dir, "index"), base, &lines)
	return tree, unknown, err
}
