package workspace

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"banger/internal/git"
	"banger/internal/workspace/wire"
)

// Report writes what the workspace has become, and a pack of all objects that the
// host lacks. It reads the repository and changes nothing in it: objects and index
// that it makes lie in a directory of their own in the git directory, on the file
// system of the repository, and are removed.
func Report(ctx context.Context, q wire.Question, home string, out io.Writer) error {
	r, err := look(ctx, q, home)
	if err != nil {
		return wire.WriteJSON(out, wire.Report{Error: err.Error()})
	}
	defer r.close()
	r.Pack = r.Tree != q.Tree || !slices.EqualFunc(r.Refs, q.Refs, func(a, b wire.Ref) bool {
		return a.ID == b.ID && bytes.Equal(a.Name, b.Name)
	})
	if err := wire.WriteJSON(out, r.Report); err != nil {
		return err
	}
	if !r.Pack {
		return nil
	}
	return r.pack(ctx, out)
}

// report is a Report in the making. Each git is a process, which takes a tenth of a
// second in an emulated guest: none is run for what another one tells.
type report struct {
	wire.Report
	own   git.Git // with an index and an object directory of its own
	temp  string
	known []string // of the question's base and head, those that are in the repository
}

func (r *report) close() { os.RemoveAll(r.temp) }

// look finds out what the workspace has become. The caller closes the report.
func look(ctx context.Context, q wire.Question, home string) (_ *report, err error) {
	tree := place(q.Path, home)
	if _, err := os.Stat(tree); err != nil {
		return nil, err
	}
	r, err := lookOwn(ctx, q, tree)
	if err != nil && ctx.Err() == nil {
		// Whatever became of its repository, its files are there.
		r, err = lookAnew(ctx, q, tree)
	}
	return r, err
}

// lookOwn looks with the workspace's own repository.
func lookOwn(ctx context.Context, q wire.Question, tree string) (_ *report, err error) {
	user := guestGit(tree)
	out, err := user.Line(ctx, nil, "rev-parse", "--path-format=absolute", "--show-toplevel", "--absolute-git-dir", "--git-common-dir")
	if err != nil {
		return nil, err
	}
	dirs := strings.Split(out, "\n")
	if len(dirs) != 3 {
		return nil, fmt.Errorf("the repository's directories have names that can't be told apart: %q", out)
	}
	top, dir, common := dirs[0], dirs[1], dirs[2]
	if err := checkOwn(top, tree); err != nil {
		return nil, err
	}
	r, err := newReport(dir, tree, "GIT_ALTERNATE_OBJECT_DIRECTORIES="+git.Quote(filepath.Join(common, "objects")))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	if err := copyIndex(filepath.Join(r.temp, "index"), filepath.Join(dir, "index")); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	if err := r.findKnown(ctx, q); err != nil {
		return nil, err
	}
	if !slices.Contains(r.known, q.Base) {
		return nil, fmt.Errorf("the base %s is not in the guest's repository any more", q.Base)
	}
	if err := r.addAll(ctx, q); err != nil {
		return nil, err
	}
	if r.Tree, err = r.own.Line(ctx, nil, "write-tree"); err != nil {
		return nil, err
	}
	return r, r.history(ctx, user)
}

// newReport makes a report with an index and an object directory of its own, in dir.
func newReport(dir, tree string, env ...string) (*report, error) {
	temp, err := os.MkdirTemp(dir, "banger-report-")
	if err != nil {
		return nil, err
	}
	r := &report{temp: temp, own: guestGit(tree, append(env,
		"GIT_INDEX_FILE="+filepath.Join(temp, "index"), "GIT_OBJECT_DIRECTORY="+filepath.Join(temp, "objects"))...)}
	if err := os.Mkdir(filepath.Join(temp, "objects"), 0o700); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

// lookAnew looks with a repository that is made for it beside the tree. It knows no
// history; the tree's own .git, if there is one, is left out as git leaves it out.
func lookAnew(ctx context.Context, q wire.Question, tree string) (_ *report, err error) {
	r, err := newReport(filepath.Dir(tree), tree)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	r.Anew = true
	repo := filepath.Join(r.temp, "git")
	if _, err := guestGit(r.temp).Run(ctx, nil, "init", "-q", "--template=", "--object-format="+q.Hash, repo); err != nil {
		return nil, err
	}
	r.own.Env = append(r.own.Env, "GIT_DIR="+filepath.Join(repo, gitDir), "GIT_WORK_TREE="+tree)
	if err := r.addAll(ctx, q); err != nil {
		return nil, err
	}
	r.Tree, err = r.own.Line(ctx, nil, "write-tree")
	return r, err
}

// checkOwn refuses a tree whose own repository is gone: git would take one above
// it.
func checkOwn(top, tree string) error {
	a, err := os.Stat(top)
	if err != nil {
		return err
	}
	b, err := os.Stat(tree)
	if err != nil {
		return err
	}
	if !os.SameFile(a, b) {
		return fmt.Errorf("%q has no repository of its own any more", tree)
	}
	return nil
}

// findKnown finds out which of the base and the head are in the repository.
func (r *report) findKnown(ctx context.Context, q wire.Question) error {
	out, err := r.own.Run(ctx, strings.NewReader(q.Base+"\n"+q.Head+"\n"), "cat-file", "--batch-check=%(objecttype) %(objectname)")
	for line := range strings.Lines(string(out)) {
		if id, found := strings.CutPrefix(strings.TrimSpace(line), "commit "); found {
			r.known = append(r.known, id)
		}
	}
	return err
}

// copyIndex copies an index with its time: git takes a file that is as old as the
// index for one that may have changed since (git's Documentation/technical/racy-git.txt),
// and a copy that is younger would hide that.
func copyIndex(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	fi, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	return os.Chtimes(to, fi.ModTime(), fi.ModTime())
}

// addAll brings the report's index up to the tree: all that git would not ignore,
// and all paths of the base.
func (r *report) addAll(ctx context.Context, q wire.Question) error {
	nested, err := r.readMarks(ctx)
	if err != nil {
		return err
	}
	err = r.own.Names(ctx, nil, func(name []byte) error {
		if dir, found := bytes.CutSuffix(name, []byte("/")); found {
			nested = append(nested, dir)
		}
		return nil
	}, "ls-files", "-o", "--exclude-standard", "-z")
	if err != nil {
		return err
	}
	var specs bytes.Buffer
	specs.WriteString(":(top)\x00")
	for _, n := range nested {
		fmt.Fprintf(&specs, ":(top,exclude,literal)%s\x00", n)
	}
	if _, err := r.own.Run(ctx, &specs, "add", "-A", "--sparse", "--pathspec-from-file=-", "--pathspec-file-nul"); err != nil {
		return err
	}
	for _, n := range nested {
		if err := r.addNested(ctx, string(n)); err != nil {
			return err
		}
	}
	r.Nested = nested
	if err := r.addBase(ctx, q); err != nil {
		return err
	}
	return r.own.Names(ctx, nil, func([]byte) error { r.Ignored++; return nil }, "ls-files", "-o", "-i", "--exclude-standard", "-z")
}

// readMarks makes git look at files again that the user told it not to look at: an
// edit of theirs is an edit. A file that a sparse checkout left out stays as the
// index has it. It returns the repositories inside the tree that the index knows.
func (r *report) readMarks(ctx context.Context) (nested [][]byte, err error) {
	var assumed, skipped bytes.Buffer
	err = r.own.Names(ctx, nil, func(line []byte) error {
		// "TAG MODE ID STAGE\tPATH"
		head, name, found := bytes.Cut(line, []byte("\t"))
		f := bytes.Fields(head)
		if !found || len(f) != 4 || len(f[0]) != 1 {
			return fmt.Errorf("git ls-files says %.200q", line)
		}
		tag := f[0][0]
		if string(f[1]) == "160000" {
			nested = append(nested, name)
		}
		if tag >= 'a' && tag <= 'z' {
			assumed.Write(append(name, 0))
		}
		if tag == 'S' || tag == 's' {
			if _, err := os.Lstat(filepath.Join(r.own.Dir, string(name))); err == nil {
				skipped.Write(append(name, 0))
			}
		}
		return nil
	}, "ls-files", "-s", "-v", "-z")
	if err != nil {
		return nil, err
	}
	for flag, names := range map[string]*bytes.Buffer{"--no-assume-unchanged": &assumed, "--no-skip-worktree": &skipped} {
		if names.Len() > 0 {
			if _, err := r.own.Run(ctx, names, "update-index", flag, "-z", "--stdin"); err != nil {
				return nil, err
			}
		}
	}
	return nested, nil
}

// addNested adds the files of a repository inside the tree, by what that one
// ignores, and not its git directory. A submodule that is not there is left out.
func (r *report) addNested(ctx context.Context, at string) error {
	if _, err := r.own.Run(ctx, strings.NewReader(at+"\x00"), "update-index", "--force-remove", "-z", "--stdin"); err != nil {
		return err
	}
	dir := filepath.Join(r.own.Dir, at)
	if _, err := os.Lstat(filepath.Join(dir, gitDir)); err != nil {
		return nil
	}
	var files bytes.Buffer
	inner := guestGit(dir)
	var deeper []string
	err := inner.Names(ctx, nil, func(name []byte) error {
		path := filepath.Join(at, string(name))
		fi, err := os.Lstat(filepath.Join(r.own.Dir, path))
		switch {
		case err != nil: // deleted
		case fi.IsDir():
			deeper = append(deeper, path)
		default:
			files.WriteString(path + "\x00")
		}
		return nil
	}, "ls-files", "-c", "-o", "--exclude-standard", "-z")
	if err != nil {
		return err
	}
	if _, err := r.own.Run(ctx, &files, "update-index", "--add", "--replace", "-z", "--stdin"); err != nil {
		return err
	}
	for _, path := range deeper {
		if err := r.addNested(ctx, path); err != nil {
			return err
		}
	}
	return nil
}

// addBase adds the base's paths that are in the tree and that git would ignore.
func (r *report) addBase(ctx context.Context, q wire.Question) error {
	var missing bytes.Buffer
	look := func(name []byte) error {
		if fi, err := os.Lstat(filepath.Join(r.own.Dir, string(name))); err == nil && !fi.IsDir() && !r.beyondLink(string(name)) {
			missing.Write(append(name, 0))
		}
		return nil
	}
	if r.Anew {
		for _, name := range q.Private {
			look(bytes.Clone(name))
		}
	} else if err := r.own.Names(ctx, nil, look, "diff-index", "--cached", "--name-only", "--diff-filter=D", "--no-renames", "-z", q.Base); err != nil {
		return err
	}
	if missing.Len() == 0 {
		return nil
	}
	_, err := r.own.Run(ctx, &missing, "update-index", "--add", "-z", "--stdin")
	return err
}

// beyondLink reports whether a directory of path is a symbolic link.
func (r *report) beyondLink(path string) bool {
	for dir := filepath.Dir(path); dir != "."; dir = filepath.Dir(dir) {
		if fi, err := os.Lstat(filepath.Join(r.own.Dir, dir)); err != nil || !fi.IsDir() {
			return true
		}
	}
	return false
}

// history reads where HEAD and the branches are.
func (r *report) history(ctx context.Context, user git.Git) error {
	list, err := user.Run(ctx, nil, "for-each-ref", "--format=%(HEAD)%(objectname) %(objecttype) %(refname)", "refs/heads")
	if err != nil {
		return err
	}
	for line := range bytes.Lines(list) {
		f := bytes.SplitN(bytes.TrimSuffix(line[1:], []byte("\n")), []byte(" "), 3)
		if len(f) != 3 || string(f[1]) != "commit" {
			continue
		}
		ref := wire.Ref{Name: bytes.Clone(f[2]), ID: string(f[0])}
		r.Refs = append(r.Refs, ref)
		if line[0] == '*' {
			r.Head, r.Branch = ref.ID, ref.Name
		}
	}
	if r.Head != "" {
		return nil
	}
	// HEAD is detached, or names a branch that has no commit.
	if head, err := user.Line(ctx, nil, "rev-parse", "-q", "--verify", "HEAD^{commit}"); err == nil {
		r.Head = head
	} else if name, err := user.Line(ctx, nil, "symbolic-ref", "-q", "HEAD"); err == nil {
		r.Branch = []byte(name)
	}
	return nil
}

// pack writes a pack of what the report names and the host lacks.
func (r *report) pack(ctx context.Context, out io.Writer) error {
	var want bytes.Buffer
	want.WriteString(r.Tree + "\n")
	if r.Head != "" {
		want.WriteString(r.Head + "\n")
	}
	for _, ref := range r.Refs {
		want.WriteString(ref.ID + "\n")
	}
	for _, id := range r.known {
		want.WriteString("^" + id + "\n")
	}
	return r.own.Stream(ctx, &want, out, "pack-objects", "--revs", "--thin", "--stdout", "--delta-base-offset", "-q")
}
