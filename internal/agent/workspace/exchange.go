package workspace

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"banger/internal/git"
	"banger/internal/workspace/wire"
)

// exchange puts a copy in the place of workspaces of which the host has all: what was
// edited there since the host saved it is put back, and the copy refused.
type exchange struct {
	dest  string
	force bool // goes on over what can't be looked at
	known []replaced
}

// replaced is a workspace at the place of a copy, or below it.
type replaced struct {
	wire.Known
	at string // beneath the place; "." is the place itself
}

// readKnown reads the part of the stream that names what the copy replaces.
func readKnown(r *tar.Reader, dest, home string) (list []replaced, err error) {
	e, err := r.Next()
	if err != nil {
		return nil, fmt.Errorf("read the stream: %w", err)
	}
	if e.Name != wire.PartKnown {
		return nil, fmt.Errorf("the stream has %q where %q was announced", e.Name, wire.PartKnown)
	}
	for lines := bufio.NewReader(r); ; {
		var k replaced
		if err := wire.ReadJSON(lines, &k.Known); errors.Is(err, io.EOF) {
			return list, nil
		} else if err != nil {
			return nil, fmt.Errorf("read what the host has: %w", err)
		}
		if k.at, err = filepath.Rel(dest, place(k.Path, home)); err != nil || !filepath.IsLocal(k.at) {
			return nil, fmt.Errorf("the stream names the workspace %q, which is not in %q", k.Path, dest)
		}
		list = append(list, k)
	}
}

// knowsPlace reports whether what is at the place itself is such a workspace.
func (e exchange) knowsPlace() bool {
	return slices.ContainsFunc(e.known, func(k replaced) bool { return k.at == "." })
}

// run exchanges the copy in temp with what is at the place, and looks at that when no
// edit comes to it by its path any more. temp holds then what is to be removed: what was
// replaced or, after an error, the copy. While it is looked at, what was replaced has a
// name that nobody sweeps: an agent that is killed loses no edit.
func (e exchange) run(ctx context.Context, temp string) error {
	old, err := os.MkdirTemp(filepath.Dir(e.dest), "banger-replaced-")
	if err != nil {
		return err
	}
	if err := unix.Rename(temp, old); err != nil {
		os.Remove(old)
		return fmt.Errorf("rename %q to %q: %w", temp, old, err)
	}
	err = e.swap(old)
	if errors.Is(err, unix.ENOENT) {
		if !e.force {
			err = fmt.Errorf("%s %w", e.dest, errGone)
		} else if err = e.rename(old, e.dest, unix.RENAME_NOREPLACE); err == nil {
			return nil
		}
	}
	if err != nil {
		return errors.Join(err, e.rename(old, temp, 0))
	}
	for _, k := range e.known {
		if err = k.check(ctx, filepath.Join(old, k.at), e.force); err != nil {
			err = fmt.Errorf("%s %w", filepath.Join(e.dest, k.at), err)
			break
		}
	}
	if err != nil {
		if berr := e.rename(old, e.dest, unix.RENAME_EXCHANGE); berr != nil {
			return fmt.Errorf("%w; it is in %s now: %w", err, old, berr)
		}
	}
	return errors.Join(err, e.rename(old, temp, 0))
}

// swap exchanges the copy with what is at the place.
func (e exchange) swap(with string) error {
	if err := refuseMounts(e.dest); err != nil {
		return err
	}
	return e.rename(with, e.dest, unix.RENAME_EXCHANGE)
}

func (e exchange) rename(from, to string, flags uint) error {
	if err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, flags); err != nil {
		return fmt.Errorf("rename %q to %q: %w", from, to, err)
	}
	return nil
}

// Reasons why a workspace is not replaced.
var (
	errEdited = errors.New("was edited while the copy went in, and is as it was: run it again")
	errGone   = errors.New("has no directory in the guest any more: --force copies it anew")
	errAnew   = errors.New("has another repository than the one that went in, or none: --force replaces it, and commits of another one go with it")
)

// check says why the workspace in tree must not be replaced; nil if the host has all of
// it. With force, what is no repository any more is compared by its files, and what
// can't be looked at is not looked at.
func (k replaced) check(ctx context.Context, tree string, force bool) error {
	if isGone(tree) {
		if force {
			return nil
		}
		return errGone
	}
	l, err := k.look(ctx, tree)
	if errors.Is(err, git.ErrMissing) {
		err = k.sameStats(ctx, tree)
	} else if err == nil {
		defer l.close()
		err = k.compare(l.Report)
	}
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("was not looked at: %w", context.Cause(ctx))
	case err == nil, errors.Is(err, errEdited), errors.Is(err, errAnew) && !force:
		return err
	case force:
		return nil
	}
	return fmt.Errorf("can't be looked at: %w", err)
}

// look looks as Report does. A repository that can't be reported counts as none also if
// it can be looked at.
func (k replaced) look(ctx context.Context, tree string) (l *looked, err error) {
	if !k.Anew {
		l, err = lookOwn(ctx, k.Question, tree)
		if err == nil || errors.Is(err, git.ErrMissing) || ctx.Err() != nil {
			return l, err
		}
	}
	return lookAnew(ctx, k.Question, tree)
}

// compare compares what there is with what the host has.
func (k replaced) compare(now wire.Report) error {
	switch {
	case now.Tree != k.Tree, !now.Anew && (now.Head != k.Head || !sameRefs(now.Refs, k.Refs)):
		return errEdited
	case now.Anew:
		return errAnew
	}
	return nil
}

// sameStats compares the files without git: each that was written since then counts,
// though git would ignore it.
func (k replaced) sameStats(ctx context.Context, tree string) error {
	root, err := filepath.EvalSymlinks(tree)
	if err != nil {
		return err
	}
	w, err := walkFiles(ctx, root, k.Question)
	switch {
	case err != nil:
		return err
	case k.Stats == "":
		return git.ErrMissing
	case w.digest() != k.Stats:
		return errEdited
	}
	return nil
}
