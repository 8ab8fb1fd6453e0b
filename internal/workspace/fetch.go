package workspace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/git"
	"banger/internal/hint"
	"banger/internal/lease"
)

// FetchOptions say where a work goes in a user's repository.
type FetchOptions struct {
	// Name is the part of the refs' names after refs/banger/: the VM's.
	Name string
	// As is the name of a new branch for the work; "" makes none.
	As string
	// Scratch is the directory in which the scratch repository is made.
	Scratch string
}

// Fetched is what Fetch wrote.
type Fetched struct {
	Refs map[string]string // full names, and what they are at
	Old  []string          // refs that keep what a ref no longer reaches
	// Branch is the full name of the new branch; "" if there is none. Work says that
	// it is at the commit of the whole work tree, because the guest had not committed
	// all of it.
	Branch string
	Work   bool
	// Objects counts the contents of LFS files that came along. NoObjects says why they
	// could not: the way to where they belong is a link.
	Objects   int
	NoObjects error
}

// BranchExistsError says that the branch that was to be made is there already.
type BranchExistsError struct{ Name string }

func (e *BranchExistsError) Error() string {
	return fmt.Sprintf("there is a branch %q already", e.Name)
}

// Fetch brings the work into r as refs/banger/NAME/base, heads/*, stash/* and work. No
// branch, file or setting of the user's changes, and what an earlier Fetch brought
// stays reachable, under old/N. An error leaves objects that no ref reaches; one of the
// last step may leave an earlier Fetch's refs under old/N alone.
func (s Store) Fetch(ctx context.Context, r *Repository, w Work, o FetchOptions) (Fetched, error) {
	f, err := s.beginFetch(ctx, r, w, o)
	if err != nil {
		return f.Fetched, err
	}
	defer f.look.Close()
	if err := s.give(ctx, r, f.look.Git, f.Refs); err != nil {
		return f.Fetched, fmt.Errorf("bring the work into %q: %w", r.Root, err)
	}
	f.Objects, err = s.giveObjects(ctx, r, f.info.Head, f.Refs)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) {
		f.NoObjects = err
	} else if err != nil {
		return f.Fetched, fmt.Errorf("bring the contents of LFS files into %q: %w", r.Root, err)
	}
	if f.Branch != "" {
		at := f.work.Head
		tree := ""
		if at != "" {
			if tree, err = s.git().Line(ctx, nil, "rev-parse", at+"^{tree}"); err != nil {
				return f.Fetched, err
			}
		}
		if f.Work = tree != f.work.Tree; f.Work {
			at = f.work.Commit
		}
		f.Refs[f.Branch] = at
	}
	f.Old, err = point(ctx, r, f.look.Git, "refs/banger/"+o.Name+"/", f.Refs)
	return f.Fetched, err
}

// CheckFetch says why Fetch would refuse. It writes nothing into r.
func (s Store) CheckFetch(ctx context.Context, r *Repository, w Work, o FetchOptions) error {
	f, err := s.beginFetch(ctx, r, w, o)
	if err == nil {
		f.look.Close()
	}
	return err
}

// fetch is a Fetch that may begin: nothing is written.
type fetch struct {
	Fetched
	info Info
	work Work     // as it is fetched, without ignored files
	look *scratch // the caller closes it
}

func (s Store) beginFetch(ctx context.Context, r *Repository, w Work, o FetchOptions) (f fetch, err error) {
	if f.info, err = s.Info(); err != nil {
		return f, err
	}
	if r.Hash != f.info.Hash {
		return f, fmt.Errorf("the repository %q has the object format %s, the work %s", r.Root, r.Hash, f.info.Hash)
	}
	if !isBranch([]byte("refs/heads/" + o.Name)) {
		return f, fmt.Errorf("%.80q can be no part of a ref's name", o.Name)
	}
	if err := refuseLinkedObjects(r); err != nil {
		return f, err
	}
	if f.look, err = newScratch(o.Scratch, r); err != nil {
		return f, err
	}
	defer func() {
		if err != nil {
			f.look.Close()
		}
	}()
	if f.info.Head != "" {
		if _, err := f.look.Run(ctx, nil, "cat-file", "-e", f.info.Head+"^{commit}"); err != nil {
			return f, fmt.Errorf("bring the work into %q: it has no commit %.12s, with which the work began: is it another repository?", r.Root, f.info.Head)
		}
	}
	if o.As != "" {
		f.Branch = "refs/heads/" + o.As
		if !isBranch([]byte(f.Branch)) || strings.HasPrefix(o.As, "-") || o.As == "HEAD" { // as git branch
			return f, fmt.Errorf("%.80q can be no branch's name", o.As)
		}
		if err := checkNew(ctx, f.look.Git, f.Branch); err != nil {
			return f, err
		}
	}
	if f.Refs, err = s.refs(ctx, "refs/banger/"+o.Name+"/"); err != nil {
		return f, err
	}
	f.work, err = s.withoutPrivate(ctx, f.info, w, "refs/banger/"+o.Name+"/", f.Refs)
	return f, err
}

// checkNew refuses a branch that is there, or whose name is in the way of one: a and a/b
// can't both be.
func checkNew(ctx context.Context, g git.Git, branch string) error {
	there, err := listRefs(ctx, g, branch) // and those below it
	for dir := path.Dir(branch); err == nil && len(there) == 0 && dir != "refs/heads"; dir = path.Dir(dir) {
		if _, rerr := g.Run(ctx, nil, "rev-parse", "-q", "--verify", dir); rerr == nil {
			there = []ref{{name: dir}}
		}
	}
	if err != nil || len(there) == 0 {
		return err
	}
	return &BranchExistsError{strings.TrimPrefix(there[0].name, "refs/heads/")}
}

// refLimit bounds a change of refs in the user's repository.
var refLimit = 20 * time.Second

// updateRefs changes refs in the user's repository, in one transaction. It is the
// one git that runs there, because only git knows how they are kept. It runs nothing
// of the repository's, but it reads its configuration, and waits for whatever that
// includes: so it is bounded.
func updateRefs(ctx context.Context, r *Repository, tx io.Reader) error {
	return updateRefsBy(ctx, r, hostGit(r.Common, "", ownCommitter...), tx)
}

// ownCommitter is who writes a reflog if nobody else does.
var ownCommitter = []string{"GIT_COMMITTER_NAME=banger", "GIT_COMMITTER_EMAIL=banger@localhost"}

// updateRefsBy is updateRefs with the git that does it, and options of update-ref.
func updateRefsBy(ctx context.Context, r *Repository, g git.Git, tx io.Reader, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, refLimit)
	defer cancel()
	_, err := g.Run(ctx, tx, append(append([]string{"update-ref"}, args...), "-z", "--stdin")...)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("git did not answer in %q within %v: its configuration may include a file that can't be read", r.Root, refLimit)
	}
	return err
}

// withoutPrivate takes the ignored files that went in out of what is fetched: base
// and work become commits without them. A commit of the guest's that holds one is
// refused: a merge and a push would publish it.
func (s Store) withoutPrivate(ctx context.Context, i Info, w Work, prefix string, refs map[string]string) (Work, error) {
	if len(i.Private) == 0 {
		return w, nil
	}
	base, err := s.remake(ctx, i.Base, i.Head, i.Private)
	if err != nil {
		return w, err
	}
	parent := base
	if w.Head != "" && w.Head != i.Head {
		parent = w.Head
	}
	if w.Commit, err = s.remake(ctx, w.Commit, parent, i.Private); err != nil {
		return w, err
	}
	refs[prefix+"base"], refs[prefix+"work"] = base, w.Commit
	var heads []string
	for name, id := range refs {
		if strings.HasPrefix(name, prefix+"heads/") || strings.HasPrefix(name, prefix+"stash/") {
			heads = append(heads, id)
		}
	}
	if err := s.refuseCommitted(ctx, i, w.Tree, heads); err != nil {
		return w, err
	}
	w.Tree, err = s.git().Line(ctx, nil, "rev-parse", w.Commit+"^{tree}")
	return w, err
}

// refuseCommitted refuses commits of the guest's, those that heads reach, that hold an
// ignored file that went in: its path, with whatever content, or its content as it went in
// or as tree has it, under whatever path.
func (s Store) refuseCommitted(ctx context.Context, i Info, tree string, heads []string) error {
	if len(heads) == 0 {
		return nil
	}
	private, ids, err := s.private(ctx, i, i.Tree, tree)
	if err != nil {
		return err
	}
	commits := strings.Join(heads, "\n") + "\n"
	if i.Head != "" {
		commits += "^" + i.Head + "\n"
	}
	return rawChanges(ctx, s.git(), strings.NewReader(commits), func(c Change) error {
		name := ids[c.newID]
		if private[string(c.Path)] {
			name = string(c.Path)
		}
		if name == "" || c.NewMode == 0 {
			return nil
		}
		return hint.Add(fmt.Errorf("a commit of the guest's holds %q, an ignored file that went in: it is not fetched", name),
			"banger apply brings the files; or take it out of the commits in the guest (git rebase, git commit --amend)")
	}, "log", "-m", "--root", "-r", "-z", "--raw", "--format=", "--no-show-signature", "--no-renames", "--no-abbrev", "--stdin")
}

// private are the ignored files that went in, and the ids of their contents in some trees,
// with their names. An empty file's is not among them: it tells nothing.
func (s Store) private(ctx context.Context, i Info, trees ...string) (paths map[string]bool, ids map[string]string, err error) {
	empty, err := s.git().Line(ctx, nil, "hash-object", "--stdin")
	if err != nil {
		return nil, nil, err
	}
	paths, ids = map[string]bool{}, map[string]string{}
	for _, name := range i.Private {
		paths[string(name)] = true
	}
	for _, tree := range trees {
		err := s.git().Names(ctx, nil, func(line []byte) error {
			path, _ := treePath(line, "")
			if f := bytes.Fields(line); paths[string(path)] && len(f) > 2 && string(f[2]) != empty {
				ids[string(f[2])] = string(path)
			}
			return nil
		}, "ls-tree", "-r", "-z", "--full-tree", tree)
		if err != nil {
			return nil, nil, err
		}
	}
	return paths, ids, nil
}

// remake makes a commit of another one's tree without some paths.
func (s Store) remake(ctx context.Context, commit, parent string, without [][]byte) (string, error) {
	l, err := lease.New(s.Dir, incoming)
	if err != nil {
		return "", err
	}
	defer l.Close()
	g := s.git(commitEnv...)
	tree, err := treeWithout(ctx, g, filepath.Join(l.Dir, "index"), commit, without)
	if err != nil {
		return "", err
	}
	args := []string{"commit-tree", tree, "-m", "the work tree of the guest, without ignored files"}
	if parent != "" {
		args = append(args, "-p", parent)
	}
	return g.Line(ctx, nil, args...)
}

// treeWithout makes a tree of another one, or of a commit's, by its id, without some
// paths. index is the name of a file that is not there yet.
func treeWithout(ctx context.Context, g git.Git, index, tree string, without [][]byte) (string, error) {
	var lines bytes.Buffer
	for _, n := range without { // a mode of 0 removes
		fmt.Fprintf(&lines, "0 %s\t%s\x00", strings.Repeat("0", len(tree)), n)
	}
	return editTree(ctx, g, index, tree, &lines)
}

// editTree makes a tree of another one and of lines for update-index --index-info. index
// is the name of a file that is not there yet.
func editTree(ctx context.Context, g git.Git, index, tree string, lines *bytes.Buffer) (string, error) {
	g.Env = append(slices.Clone(g.Env), "GIT_INDEX_FILE="+index)
	if _, err := g.Run(ctx, nil, "read-tree", tree); err != nil {
		return "", err
	}
	if err := updateIndex(ctx, g, index, lines); err != nil {
		return "", err
	}
	return g.Line(ctx, nil, "write-tree", "--missing-ok")
}

// refs are the store's refs as they will be called below prefix.
func (s Store) refs(ctx context.Context, prefix string) (map[string]string, error) {
	out := map[string]string{}
	list, err := listRefs(ctx, s.git(), "refs/banger/")
	for _, ref := range list {
		out[prefix+strings.TrimPrefix(ref.name, "refs/banger/")] = ref.id
	}
	return out, err
}

// give brings the objects of refs into the user's repository: a pack, written and
// checked beside its objects, and then renamed among them.
func (s Store) give(ctx context.Context, r *Repository, look git.Git, refs map[string]string) error {
	i, err := s.Info()
	if err != nil {
		return err
	}
	var want bytes.Buffer
	for _, id := range refs {
		want.WriteString(id + "\n")
	}
	if i.Head != "" {
		want.WriteString("^" + i.Head + "\n")
	}
	return takePack(ctx, r, look, s.strict(), func(out io.Writer) error {
		return s.git().Stream(ctx, &want, out, "pack-objects", "--revs", "--stdout", "--thin", "--delta-base-offset", "-q")
	})
}

// takePack brings a pack into the user's repository: checked beside its objects, and
// then renamed among them. look is a git that has the user's objects, strict the option
// with which index-pack looks into objects; "" does not.
func takePack(ctx context.Context, r *Repository, look git.Git, strict string, write func(io.Writer) error) error {
	if err := refuseLinkedObjects(r); err != nil {
		return err
	}
	objects := filepath.Join(r.Common, "objects")
	dir, err := os.MkdirTemp(objects, "tmp_objdir-banger-") // git gc removes old ones of this name
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Mkdir(filepath.Join(dir, "pack"), 0o777); err != nil {
		return err
	}
	in := look
	in.Env = append(slices.Clone(in.Env), "GIT_OBJECT_DIRECTORY="+dir, "GIT_ALTERNATE_OBJECT_DIRECTORIES="+git.Quote(objects))
	pack, out := io.Pipe()
	go func() { // ends when pack is read or closed
		out.CloseWithError(write(out))
	}()
	args := []string{"index-pack", "--stdin", "--fix-thin"}
	if strict != "" {
		args = append(args, strict)
	}
	_, err = in.Run(ctx, pack, args...)
	pack.CloseWithError(err)
	if err != nil {
		return err
	}
	return movePack(filepath.Join(dir, "pack"), filepath.Join(objects, "pack"))
}

// refuseLinkedObjects refuses a repository whose objects are elsewhere: they may be read
// through a link, but not written.
func refuseLinkedObjects(r *Repository) error {
	objects := filepath.Join(r.Common, "objects")
	for _, d := range []string{objects, filepath.Join(objects, "pack")} {
		if fi, err := os.Lstat(d); err == nil && !fi.IsDir() {
			return fmt.Errorf("%q is no directory: nothing is written where it may lead", d)
		}
	}
	return nil
}

// movePack moves the files of a pack; the index, which makes it visible, comes
// last.
func movePack(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o777); err != nil {
		return err
	}
	for _, last := range []bool{false, true} {
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ".idx") != last {
				continue
			}
			if err := os.Rename(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// point points refs at what they name. What one of those below prefix was at, and
// no longer reaches, gets a ref old/N. Refs below prefix that are no longer named go.
func point(ctx context.Context, r *Repository, look git.Git, prefix string, refs map[string]string) (old []string, err error) {
	list, err := listRefs(ctx, look, prefix)
	if err != nil {
		return nil, err
	}
	var keep, drop bytes.Buffer
	taken := map[string]bool{}
	now := map[string]string{}
	for _, ref := range list {
		if strings.HasPrefix(ref.name, prefix+"old/") {
			taken[ref.name], taken[ref.id] = true, true
			continue
		}
		now[ref.name] = ref.id
	}
	n := 1
	for _, name := range slices.Sorted(maps.Keys(now)) {
		id := now[name]
		if refs[name] == id {
			continue
		}
		if refs[name] == "" {
			fmt.Fprintf(&drop, "delete %s\x00%s\x00", name, id)
		}
		if taken[id] || reaches(ctx, look, refs[name], id) {
			continue
		}
		for ; taken[fmt.Sprintf("%sold/%d", prefix, n)]; n++ {
		}
		ref := fmt.Sprintf("%sold/%d", prefix, n)
		taken[ref], taken[id] = true, true
		fmt.Fprintf(&keep, "create %s\x00%s\x00", ref, id)
		old = append(old, ref)
	}
	var set bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(refs)) {
		if strings.HasPrefix(name, prefix) {
			fmt.Fprintf(&set, "update %s\x00%s\x00\x00", name, refs[name])
		} else {
			fmt.Fprintf(&set, "create %s\x00%s\x00", name, refs[name])
		}
	}
	// One after the other: a branch may have become a directory of branches.
	for _, tx := range []*bytes.Buffer{&keep, &drop, &set} {
		if tx.Len() == 0 {
			continue
		}
		if err := updateRefs(ctx, r, tx); err != nil {
			return nil, err
		}
	}
	return old, nil
}

// reaches reports whether commit is id, or has it among its ancestors.
func reaches(ctx context.Context, g git.Git, commit, id string) bool {
	if commit == "" {
		return false
	}
	_, err := g.Run(ctx, nil, "merge-base", "--is-ancestor", id, commit)
	return err == nil
}
