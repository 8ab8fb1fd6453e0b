package workspace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"banger/internal/git"
	"banger/internal/workspace/wire"
)

// findUntracked walks the tree for files that git does not track and does not
// ignore: it counts them or, if they are to go in, adds them. It must come after
// the tracked files.
func (p *Plan) findUntracked(ctx context.Context, o Options, changed *[]string) error {
	tracked, links := map[string]bool{}, map[string]bool{}
	for _, e := range p.entries {
		tracked[string(e.Path)] = true
		links[string(e.Path)] = e.Mode == modeGitlink
	}
	if err := p.sparseIgnores(ctx); err != nil {
		return err
	}
	ig, err := startIgnores(ctx, p.s.Git)
	if err != nil {
		return err
	}
	w := untracked{Plan: p, include: o.IncludeUntracked || o.All, all: o.All, tracked: tracked, links: links, ignores: ig, changed: changed}
	if len(o.Include) > 0 {
		if w.wanted, err = p.startWanted(ctx, o.Include); err != nil {
			return errors.Join(err, ig.close())
		}
	}
	err = errors.Join(w.also(o.Also), w.dir(ctx, "."), ig.close())
	if w.wanted != nil {
		err = errors.Join(err, w.wanted.close())
	}
	slices.SortFunc(p.Files, func(a, b File) int { return bytes.Compare(a.Path, b.Path) })
	return err
}

// sparseIgnores writes the .gitignore files that a sparse checkout left out, and that
// count in the directories that are there, into the scratch work tree. One that a partial
// clone lacks is left out.
func (p *Plan) sparseIgnores(ctx context.Context) error {
	var names []string
	for _, e := range p.entries {
		dir, base := path.Split(string(e.Path))
		if e.Bits&wire.SkipWorktree == 0 || base != ".gitignore" {
			continue
		}
		if _, err := p.files.stat(path.Clean(dir)); err == nil {
			names = append(names, string(e.Path))
		}
	}
	if len(names) == 0 {
		return nil
	}
	_, err := p.s.Run(ctx, listOf(names), "checkout-index", "-q", "-f", "--ignore-skip-worktree-bits", "-z", "--stdin")
	if failed := (*git.Error)(nil); errors.As(err, &failed) && ctx.Err() == nil {
		return nil
	}
	return err
}

type untracked struct {
	*Plan
	include bool // untracked files
	all     bool // ignored ones too
	tracked map[string]bool
	links   map[string]bool // submodules
	ignores *ignores
	wanted  *ignores // says which ignored files go in; nil for none
	changed *[]string
}

// isWanted reports whether an ignored file goes in.
func (w *untracked) isWanted(name string) (bool, error) {
	if w.all || w.wanted == nil {
		return w.all, nil
	}
	return w.wanted.ask(name)
}

// also takes in the files at paths, whatever git says of them.
func (w *untracked) also(paths []string) error {
	for _, name := range paths {
		st, err := w.files.stat(name)
		if w.tracked[name] || errors.Is(err, fs.ErrNotExist) || err == nil && gitMode(st.Mode, true) == 0 {
			continue
		}
		if err != nil {
			return err
		}
		if err := w.takeIn(name); err != nil {
			return err
		}
		w.tracked[name] = true
	}
	return nil
}

// dir looks at one directory: its .gitignore first, which goes into the scratch
// work tree, then the rest.
func (w *untracked) dir(ctx context.Context, at string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	entries, err := w.list(at)
	if err != nil {
		return w.unlisted(at, err)
	}
	for _, e := range entries {
		if e.name == ".gitignore" && e.mode == unix.S_IFREG {
			if err := w.copyIn(path.Join(at, e.name)); err != nil {
				return err
			}
		}
	}
	for _, e := range entries {
		name := path.Join(at, e.name)
		switch {
		case w.tracked[name] && e.mode != unix.S_IFDIR: // a tracked file can have become a directory
			continue
		case w.links[name]:
			continue // its files are its own repository's
		case e.mode == unix.S_IFDIR:
			if err := w.s.root.MkdirAll(name, 0o700); err != nil {
				return err
			}
			ignored, err := w.ignores.ask(name)
			if err != nil {
				return err
			}
			if !w.all && !w.hasTracked(name) {
				_, err := w.files.stat(path.Join(name, dotGit))
				switch {
				case ignored && w.wanted == nil:
					continue
				case err == nil && !ignored:
					w.Untracked++ // a repository inside: it counts as git counts it, once
					continue
				}
			}
			if err := w.dir(ctx, name); err != nil {
				return err
			}
		case e.mode == unix.S_IFREG, e.mode == unix.S_IFLNK:
			ignored, err := w.ignores.ask(name)
			if err != nil {
				return err
			}
			if ignored {
				if yes, err := w.isWanted(name); err != nil {
					return err
				} else if yes {
					if err := w.takeIn(name); err != nil {
						return err
					}
					w.Private = append(w.Private, []byte(name))
				}
				continue
			}
			if !w.include {
				w.Untracked++
				continue
			}
			if err := w.takeIn(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// unlisted is the error of a directory that could not be read: none if it is gone, or if
// nothing in it was to go in. git status leaves such a directory out, too.
func (w *untracked) unlisted(at string, err error) error {
	switch {
	case at == ".":
		return err
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		return nil
	case w.all || !errors.Is(err, fs.ErrPermission):
		return err
	}
	ignored, aerr := w.ignores.ask(at)
	wanted := w.include
	if aerr == nil && ignored {
		wanted, aerr = w.isWanted(at)
	}
	switch {
	case aerr != nil:
		return aerr
	case wanted:
		return err
	case !ignored:
		w.Untracked++
	}
	return nil
}

// hasTracked reports whether a tracked file lies below dir.
func (w *untracked) hasTracked(dir string) bool {
	below := []byte(dir + "/")
	i, _ := slices.BinarySearchFunc(w.entries, below, func(e entry, below []byte) int { return bytes.Compare(e.Path, below) })
	return i < len(w.entries) && bytes.HasPrefix(w.entries[i].Path, below)
}

// takeIn adds an untracked file to what goes in.
func (w *untracked) takeIn(name string) error {
	if why := badPath([]byte(name)); why != "" {
		return &NameError{[]byte(name), why}
	}
	st, err := w.files.stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it is gone
	} else if err != nil {
		return err
	}
	mode := gitMode(st.Mode, true)
	if mode == 0 {
		return nil // it became something else
	}
	if path.Base(name) == ".gitattributes" {
		if err := w.copyIn(name); err != nil {
			return err
		}
	}
	*w.changed = append(*w.changed, name)
	w.add(name, mode, st)
	return nil
}

// dirEntry is an entry of a directory, with its type as in a mode.
type dirEntry struct {
	name string
	mode uint32
}

// list reads a directory, in the order of names. A .git is left out.
func (w *untracked) list(at string) ([]dirEntry, error) {
	f, err := w.files.open(at, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var out []dirEntry
	for _, name := range names {
		if name == dotGit {
			continue
		}
		var st unix.Stat_t
		if err := unix.Fstatat(int(f.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			if errors.Is(err, unix.ENOENT) {
				continue
			}
			return nil, fmt.Errorf("stat %q: %w", path.Join(at, name), err)
		}
		out = append(out, dirEntry{name, st.Mode & unix.S_IFMT})
	}
	return out, nil
}
