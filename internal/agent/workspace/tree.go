package workspace

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"banger/internal/git"
	"banger/internal/workspace/wire"
)

// addAll brings the report's index up to the tree: all that git would not ignore,
// and all paths of the base.
func (l *looked) addAll(ctx context.Context, q wire.Question) error {
	f, err := l.listFiles(ctx, q)
	if err != nil {
		return err
	}
	if err := l.leaveOutIgnored(ctx, f); err != nil {
		return err
	}
	f.settle(l.own.Dir)
	if err := l.refuseLarge(ctx, f.edited); err != nil {
		return err
	}
	for _, u := range []struct {
		names []string
		args  []string
	}{
		{f.assumed, []string{"--no-assume-unchanged"}},
		{f.skipped, []string{"--no-skip-worktree"}},
		{f.gone, []string{"--force-remove"}},
		{f.edited, []string{"--add", "--replace", "--remove"}},
	} {
		if err := l.update(ctx, u.names, u.args...); err != nil {
			return err
		}
	}
	if err := l.linkSubmodules(ctx, f.submodules, q.Base); err != nil {
		return err
	}
	for _, n := range f.nested {
		if err := l.addNested(ctx, n, q.Base); err != nil {
			return err
		}
	}
	if l.Ignored == 0 && len(f.nested) == 0 {
		return nil // every path of the base is known to git, or is not there
	}
	return l.addBase(ctx, q, f)
}

// maxFile is wire.MaxFile; tests lower it.
var maxFile = int64(wire.MaxFile)

// refuseLarge refuses a file that the host would refuse: to hash it takes longer than a save
// may. Of LFS files git keeps a pointer.
func (l *looked) refuseLarge(ctx context.Context, names []string) error {
	for _, name := range names {
		fi, err := os.Lstat(filepath.Join(l.own.Dir, name))
		if err != nil || fi.Size() <= maxFile {
			continue
		}
		said, err := l.own.Run(ctx, nil, "check-attr", "-z", "filter", "--", name)
		if err != nil {
			return err
		}
		if f := bytes.Split(said, []byte{0}); len(f) < 3 || string(f[2]) != "lfs" {
			return fmt.Errorf("%q has %d bytes: the most is %d", name, fi.Size(), maxFile)
		}
	}
	return nil
}

// update runs update-index for paths.
func (l *looked) update(ctx context.Context, names []string, args ...string) error {
	if len(names) == 0 {
		return nil
	}
	var in bytes.Buffer
	for _, n := range names {
		in.WriteString(n + "\x00")
	}
	_, err := l.own.Run(ctx, &in, append(append([]string{"update-index"}, args...), "-z", "--stdin")...)
	return err
}

// files are a work tree's, as far as they are not what the index says.
type files struct {
	tracked []string        // all of the index, in its order
	edited  []string        // paths that git has to look at
	gone    []string        // paths that are not there any more as files
	others  []string        // that the index does not know
	ignored map[string]bool // those of the others that git ignores
	nested  []string        // repositories inside the tree
	// submodules are those of them that are workspaces of their own.
	submodules []string
	own        map[string]bool // the paths of such
	// assumed and skipped have a mark that tells git not to look. An edit of theirs is
	// an edit; a file that a sparse checkout left out stays as the index has it.
	assumed, skipped []string
	// sparse says that a .gitignore of the index is not in the tree. It counts, and
	// check-ignore does not know it.
	sparse bool
}

// listFiles reads the index and walks the tree.
func (l *looked) listFiles(ctx context.Context, q wire.Question) (*files, error) {
	f := &files{own: map[string]bool{}}
	for _, m := range q.Submodules {
		f.own[string(m)] = true
	}
	err := exactly(l.own).Names(ctx, nil, func(line []byte) error {
		return f.add(line, l.own.Dir)
	}, "ls-files", "-z", "-s", "-v", "-c", "-m", "-d", "-o")
	return f, err
}

// exactly is g for a list of files. core.ignoreCase, as of a repository that was made on another
// system, would hide a file whose name is another one's but for its case.
func exactly(g git.Git) git.Git {
	g.Settings = append(slices.Clone(g.Settings), "core.ignoreCase=false")
	return g
}

// add takes a line of git ls-files: "TAG MODE ID STAGE\tPATH", or "? PATH".
func (f *files) add(line []byte, tree string) error {
	if other, found := bytes.CutPrefix(line, []byte("? ")); found {
		f.others = append(f.others, string(other))
		return nil
	}
	head, path, found := bytes.Cut(line, []byte("\t"))
	field := bytes.Fields(head)
	if !found || len(field) != 4 || len(field[0]) != 1 {
		return fmt.Errorf("git ls-files says %.200q", line)
	}
	name, tag := string(path), field[0][0]
	if string(field[1]) == "160000" {
		list := &f.nested
		if f.own[name] {
			list = &f.submodules
		}
		if !slices.Contains(*list, name) {
			*list = append(*list, name)
		}
		return nil
	}
	if tag >= 'a' && tag <= 'z' {
		tag -= 'a' - 'A'
		f.assumed = append(f.assumed, name)
		f.edited = append(f.edited, name)
	}
	switch tag {
	case 'H': // as the index says, if no other line says something else
	case 'S':
		if _, err := os.Lstat(filepath.Join(tree, name)); err == nil {
			f.skipped = append(f.skipped, name)
			f.edited = append(f.edited, name)
		} else if filepath.Base(name) == ".gitignore" {
			f.sparse = true
		}
	default: // edited, deleted, or in a conflict
		f.edited = append(f.edited, name)
	}
	if tag != 'C' && tag != 'R' {
		f.tracked = append(f.tracked, name)
	}
	return nil
}

// leaveOutIgnored counts those of the others that git ignores, and takes the rest for
// edited or, if they are repositories, for nested.
func (l *looked) leaveOutIgnored(ctx context.Context, f *files) error {
	if len(f.others) == 0 {
		return nil
	}
	var err error
	if f.ignored, err = l.own.Ignored(ctx, f.others); err != nil {
		return err
	}
	if f.sparse {
		err := l.own.Names(ctx, nil, func(name []byte) error {
			f.ignored[string(name)] = true
			return nil
		}, "ls-files", "-z", "-o", "-i", "--exclude-standard")
		if err != nil {
			return err
		}
	}
	l.Ignored = len(f.ignored)
	for _, name := range f.others {
		dir, isDir := strings.CutSuffix(name, "/")
		switch {
		case f.ignored[name], isDir && f.own[dir]:
		case isDir:
			f.nested = append(f.nested, dir)
		default:
			f.edited = append(f.edited, name)
		}
	}
	return nil
}

// settle finds out which of the edited paths are gone: with nothing there that git
// can have, or beyond what is a symbolic link now.
func (f *files) settle(tree string) {
	slices.Sort(f.edited)
	f.edited = slices.DeleteFunc(slices.Compact(f.edited), func(name string) bool {
		is := isFile(tree, name)
		if !is {
			f.gone = append(f.gone, name)
			// Where a file was, git lists no repository.
			if _, err := os.Lstat(filepath.Join(tree, name, gitDir)); err == nil && !beyondLink(tree, name) && !f.own[name] && !slices.Contains(f.nested, name) {
				f.nested = append(f.nested, name)
			}
		}
		return !is
	})
	// What is below a file or a link, ignored or not, is not there.
	slices.Sort(f.tracked)
	for _, name := range f.others {
		below := name + "/"
		n, _ := slices.BinarySearch(f.tracked, below)
		for ; n < len(f.tracked) && !strings.HasSuffix(name, "/") && strings.HasPrefix(f.tracked[n], below); n++ {
			f.gone = append(f.gone, f.tracked[n])
		}
	}
}

// isFile reports whether a path in tree is what git can have: a regular file or a
// symbolic link, and not beyond one.
func isFile(tree, path string) bool {
	fi, err := os.Lstat(filepath.Join(tree, path))
	if err != nil || !fi.Mode().IsRegular() && fi.Mode().Type() != fs.ModeSymlink {
		return false
	}
	return !beyondLink(tree, filepath.Dir(path))
}

// beyondLink reports whether path, or a directory that it is in, is none.
func beyondLink(tree, path string) bool {
	for ; path != "."; path = filepath.Dir(path) {
		if fi, err := os.Lstat(filepath.Join(tree, path)); err != nil || !fi.IsDir() {
			return true
		}
	}
	return false
}

// linkSubmodules brings the commits at which submodules are into the index. One whose
// directory is gone goes; one whose repository is gone is as it was in the base.
func (l *looked) linkSubmodules(ctx context.Context, paths []string, base string) error {
	for _, at := range paths {
		dir := filepath.Join(l.own.Dir, at)
		if fi, err := os.Lstat(dir); err != nil || !fi.IsDir() {
			if err := l.update(ctx, []string{at}, "--force-remove"); err != nil {
				return err
			}
			continue
		}
		inner, _, err := gitDirs(ctx, dir)
		head := ""
		if err == nil {
			head, err = guestGit(dir, "GIT_DIR="+inner).Line(ctx, nil, "rev-parse", "-q", "--verify", "HEAD^{commit}")
		}
		if err != nil {
			if head, err = l.own.Line(ctx, nil, "rev-parse", "-q", "--verify", base+":"+at); err != nil {
				return err
			}
		}
		in := strings.NewReader(fmt.Sprintf("160000 %s\t%s\x00", head, at))
		if _, err := l.own.Run(ctx, in, "update-index", "-z", "--index-info"); err != nil {
			return err
		}
	}
	return nil
}

// addNested adds the files of a repository inside the tree, by what that one
// ignores, and not its git directory. A submodule of the base that was not checked out,
// and is not now, stays.
func (l *looked) addNested(ctx context.Context, at, base string) error {
	dir := filepath.Join(l.own.Dir, at)
	_, err := os.Lstat(filepath.Join(dir, gitDir))
	if entries, rerr := os.ReadDir(dir); err != nil && rerr == nil && len(entries) == 0 {
		entry, err := l.own.Line(ctx, nil, "ls-tree", "-z", "--full-tree", base, "--", git.Here+at)
		if err != nil {
			return err
		}
		if strings.HasPrefix(entry, "160000 ") {
			_, err := l.own.Run(ctx, strings.NewReader(entry), "update-index", "-z", "--index-info") // a conflict about it ends
			return err
		}
	}
	if err := l.update(ctx, []string{at}, "--force-remove"); err != nil {
		return err
	}
	look, prefix, args := guestGit(dir), at, []string{"ls-files", "-t", "-c", "-o", "-z"}
	if err != nil { // its files are the outer repository's, which ignores some
		look, prefix, args = l.own, "", append(args, "--", ":(top,literal)"+at)
	} else {
		l.Nested = append(l.Nested, []byte(at))
	}
	var names, others, found, deeper []string
	err = exactly(look).Names(ctx, nil, func(line []byte) error {
		tag, name, _ := strings.Cut(string(line), " ")
		if names = append(names, name); tag == "?" {
			others = append(others, name)
		}
		return nil
	}, args...)
	ignored := map[string]bool{}
	if err == nil && len(others) > 0 {
		ignored, err = look.Ignored(ctx, others)
	}
	for _, name := range names {
		path := filepath.Join(prefix, name)
		fi, err := os.Lstat(filepath.Join(l.own.Dir, path))
		switch {
		case err != nil, ignored[name] && path != at: // deleted, or git's to leave out; a file in the place of what git tracks counts
		case fi.IsDir():
			deeper = append(deeper, path)
		default:
			found = append(found, path)
		}
	}
	if err != nil && prefix != "" && ctx.Err() == nil { // its own git can't read it: its files are there
		found, deeper, err = l.walkNested(ctx, at)
	}
	if err != nil {
		return err
	}
	if err := l.update(ctx, found, "--add", "--replace"); err != nil {
		return err
	}
	for _, path := range deeper {
		if err := l.addNested(ctx, path, base); err != nil {
			return err
		}
	}
	return nil
}

// walkNested lists the files below a directory that the outer repository does not ignore,
// and the repositories in it.
func (l *looked) walkNested(ctx context.Context, at string) (found, deeper []string, err error) {
	dir := filepath.Join(l.own.Dir, at)
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		name := filepath.Join(at, strings.TrimPrefix(path, dir))
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == gitDir:
			return filepath.SkipDir
		case d.IsDir() && name != at:
			if _, err := os.Lstat(filepath.Join(path, gitDir)); err == nil {
				deeper = append(deeper, name)
				return filepath.SkipDir
			}
		case d.Name() != gitDir && isFile(l.own.Dir, name):
			found = append(found, name)
		}
		return nil
	})
	if err != nil || len(found) == 0 {
		return nil, deeper, err
	}
	ignored, err := l.own.Ignored(ctx, found)
	return slices.DeleteFunc(found, func(name string) bool { return ignored[name] }), deeper, err
}

// addBase adds the base's paths that are in the tree and that git would ignore.
func (l *looked) addBase(ctx context.Context, q wire.Question, f *files) error {
	var missing []string
	look := func(name []byte) error {
		if isFile(l.own.Dir, string(name)) {
			missing = append(missing, string(name))
			if f.ignored[string(name)] {
				l.Ignored--
			}
		}
		return nil
	}
	if l.Anew {
		for _, name := range q.Private {
			look(name)
		}
	} else if err := l.own.Names(ctx, nil, look, "diff-index", "--cached", "--name-only", "--diff-filter=D", "--no-renames", "-z", q.Base); err != nil {
		return err
	}
	return l.update(ctx, missing, "--add")
}
