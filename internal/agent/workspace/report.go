package workspace

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"banger/internal/git"
	"banger/internal/lease"
	"banger/internal/workspace/wire"
)

// Report writes what the workspace has become, and a pack of all objects that the
// host lacks. It reads the repository and changes nothing in it: objects and index
// that it makes lie in a directory of their own in the git directory, on the file
// system of the repository, and are removed.
func Report(ctx context.Context, q wire.Question, home string, out io.Writer) error {
	tree := place(q.Path, home)
	fi, err := os.Stat(tree)
	if err == nil && !fi.IsDir() {
		err = fmt.Errorf("%q is no directory any more", tree)
	}
	if err != nil {
		return wire.WriteJSON(out, wire.Report{Error: err.Error(), Gone: isGone(tree)})
	}
	begun := false
	err = report(ctx, lookOwn, q, tree, out, &begun)
	if errors.Is(err, git.ErrMissing) {
		return ReportFiles(ctx, q, home, out)
	}
	if err != nil && ctx.Err() == nil && !begun {
		// Whatever became of its repository, its files are there. If that fails as well,
		// the first reason is the better one.
		if aerr := report(ctx, lookAnew, q, tree, out, &begun); aerr == nil || begun {
			err = aerr
		}
	}
	if err != nil && !begun {
		return wire.WriteJSON(out, wire.Report{Error: err.Error()})
	}
	return err
}

// report looks at a workspace and writes what it found. It sets begun with the first
// byte that it writes.
func report(ctx context.Context, look lookFunc, q wire.Question, tree string, out io.Writer, begun *bool) error {
	l, err := look(ctx, q, tree)
	if err != nil {
		return err
	}
	defer l.close()
	r := l.Report
	r.Pack = r.Tree != q.Tree || !l.headIsKnown() || !sameRefs(r.Refs, q.Refs)
	w := &headed{out: out, begun: begun, head: r}
	if r.Pack {
		return l.pack(ctx, w, q.Hash)
	}
	return w.begin()
}

// isGone reports whether there is no directory at tree.
func isGone(tree string) bool {
	fi, err := os.Stat(tree)
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || err == nil && !fi.IsDir()
}

func sameRefs(a, b []wire.Ref) bool {
	return slices.EqualFunc(a, b, func(a, b wire.Ref) bool { return a.ID == b.ID && bytes.Equal(a.Name, b.Name) })
}

// headIsKnown reports whether the host has the commit of HEAD for sure, which no branch
// need be at.
func (l *looked) headIsKnown() bool {
	return l.Head == "" || slices.ContainsFunc(l.Refs, func(ref wire.Ref) bool { return ref.ID == l.Head })
}

// copyIn reads which copy of the host's a git directory came with; "" if nothing says so.
func copyIn(dir string) string {
	f, err := os.OpenFile(filepath.Join(dir, wire.CopyFile), os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return ""
	}
	defer f.Close()
	id := make([]byte, wire.MaxCopy)
	n, _ := io.ReadFull(f, id) // it is shorter
	return strings.TrimSpace(string(id[:n]))
}

// baseIn reads what the host had of the copy that a git directory came with.
func baseIn(dir string) (b wire.Base, ok bool) {
	f, err := os.OpenFile(filepath.Join(dir, wire.BaseFile), os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return b, false
	}
	defer f.Close()
	return b, wire.ReadJSON(bufio.NewReader(f), &b) == nil
}

// headed writes a report before the first byte of its pack: a pack that can't be made
// says that the repository is broken.
type headed struct {
	out   io.Writer
	begun *bool
	head  wire.Report
}

func (h *headed) begin() error {
	if *h.begun {
		return nil
	}
	*h.begun = true
	return wire.WriteJSON(h.out, h.head)
}

func (h *headed) Write(p []byte) (int, error) {
	if err := h.begin(); err != nil {
		return 0, err
	}
	return h.out.Write(p)
}

// looked is a report in the making. Each git is a process, which takes a tenth of a
// second in an emulated guest: none is run for what another one tells.
type looked struct {
	wire.Report
	own   git.Git // with an index and an object directory of its own
	lease *lease.Lease
	temp  string // the lease's directory
	since string // the base, if the host has what it reaches
	// objects are the pack's, if git need not make it; nil if it must.
	objects []object
}

// tempPrefix begins the name of a report's directory.
const tempPrefix = "banger-report-"

func (l *looked) close() { l.lease.Close() }

// lookFunc finds out what the workspace whose files are in tree has become. The caller
// closes what it returns.
type lookFunc func(ctx context.Context, q wire.Question, tree string) (*looked, error)

// lookOwn looks with the workspace's own repository.
func lookOwn(ctx context.Context, q wire.Question, tree string) (_ *looked, err error) {
	dir, common, err := gitDirs(ctx, tree)
	if err != nil {
		return nil, err
	}
	l, err := newLooked(dir, tree, "GIT_DIR="+dir, "GIT_WORK_TREE="+tree,
		"GIT_ALTERNATE_OBJECT_DIRECTORIES="+git.Quote(filepath.Join(common, "objects")))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	l.since = q.Base
	l.Copy = copyIn(common) // the guest may have moved it
	if err := copyIndex(filepath.Join(l.temp, "index"), filepath.Join(dir, "index")); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	if !q.Plain && dir == common && l.lookQuickly(ctx, q, dir) {
		return l, nil
	}
	if err := l.addAll(ctx, q); err != nil {
		return nil, err
	}
	if l.Tree, err = l.own.Line(ctx, nil, "write-tree"); err != nil {
		return nil, err
	}
	return l, l.history(ctx)
}

// gitDirs are the git directory of the repository whose work tree is tree, and what it
// shares with other work trees.
func gitDirs(ctx context.Context, tree string) (dir, common string, err error) {
	dir = filepath.Join(tree, gitDir)
	if fi, err := os.Lstat(dir); err == nil && fi.IsDir() {
		return dir, dir, nil
	}
	out, err := guestGit(tree).Line(ctx, nil, "rev-parse", "--path-format=absolute", "--show-toplevel", "--absolute-git-dir", "--git-common-dir")
	if err != nil {
		return "", "", err
	}
	dirs := strings.Split(out, "\n")
	if len(dirs) != 3 {
		return "", "", fmt.Errorf("the repository's directories have names that can't be told apart: %q", out)
	}
	return dirs[1], dirs[2], checkOwn(dirs[0], tree)
}

// newLooked makes one with an index and an object directory of its own, in dir.
func newLooked(dir, tree string, env ...string) (*looked, error) {
	lease.Sweep(dir, tempPrefix) // of reports that were cut
	made, err := lease.New(dir, tempPrefix)
	if err != nil {
		return nil, err
	}
	temp := made.Dir
	l := &looked{lease: made, temp: temp, own: guestGit(tree, append(env,
		"GIT_INDEX_FILE="+filepath.Join(temp, "index"), "GIT_OBJECT_DIRECTORY="+filepath.Join(temp, "objects"))...)}
	if err := os.Mkdir(filepath.Join(temp, "objects"), 0o700); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// lookAnew looks with a repository that is made for it beside the tree. It knows no
// history; the tree's own .git, if there is one, is left out as git leaves it out.
func lookAnew(ctx context.Context, q wire.Question, tree string) (_ *looked, err error) {
	l, err := newLooked(filepath.Dir(tree), tree)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	l.Anew = true
	l.Copy = copyIn(filepath.Join(tree, gitDir))
	repo := filepath.Join(l.temp, "git")
	if _, err := guestGit(l.temp).Run(ctx, nil, "init", "-q", "--template=", "--object-format="+q.Hash, repo); err != nil {
		return nil, err
	}
	l.own.Env = append(l.own.Env, "GIT_DIR="+filepath.Join(repo, gitDir), "GIT_WORK_TREE="+tree)
	if err := l.addAll(ctx, q); err != nil {
		return nil, err
	}
	l.Tree, err = l.own.Line(ctx, nil, "write-tree")
	return l, err
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

// history reads where HEAD and the branches are.
func (l *looked) history(ctx context.Context) error {
	list, err := l.own.Run(ctx, nil, "for-each-ref", "--format=%(HEAD)%(objectname) %(objecttype) %(refname)", "refs/heads", stash)
	if err != nil {
		return err
	}
	for line := range bytes.Lines(list) {
		f := bytes.SplitN(bytes.TrimSuffix(line[1:], []byte("\n")), []byte(" "), 3)
		if len(f) != 3 || string(f[1]) != "commit" {
			continue
		}
		if string(f[2]) == stash {
			if err := l.stashes(ctx, string(f[0])); err != nil {
				return err
			}
			continue
		}
		ref := wire.Ref{Name: bytes.Clone(f[2]), ID: string(f[0])}
		l.Refs = append(l.Refs, ref)
		if line[0] == '*' {
			l.Head, l.Branch = ref.ID, ref.Name
		}
	}
	if l.Head != "" {
		return nil
	}
	// HEAD is detached, or names a branch that has no commit.
	if head, err := l.own.Line(ctx, nil, "rev-parse", "-q", "--verify", "HEAD^{commit}"); err == nil {
		l.Head = head
	} else if name, err := l.own.Line(ctx, nil, "symbolic-ref", "-q", "HEAD"); err == nil {
		l.Branch = []byte(name)
	}
	return nil
}

// stash is the ref of the last stash entry; those before it are in its log.
const stash = "refs/stash"

// stashes adds the stash's entries, each as a ref of its number, the last one first.
func (l *looked) stashes(ctx context.Context, last string) error {
	list, err := l.own.Run(ctx, nil, "rev-list", "--walk-reflogs", fmt.Sprintf("--max-count=%d", wire.MaxStashes), stash)
	if failed := (*git.Error)(nil); errors.As(err, &failed) && ctx.Err() == nil || err == nil && len(list) == 0 { // it has no log
		list, err = []byte(last), nil
	}
	for n, id := range strings.Fields(string(list)) {
		l.Refs = append(l.Refs, wire.Ref{Name: fmt.Appendf(nil, "%s/%d", stash, n), ID: id})
	}
	return err
}

// pack writes a pack of what the report names and the host lacks. Without --shallow, git
// would take the base's objects for new to a tree that has no commit. With the usual window
// it looks for deltas four times as long as it does all the rest, and finds no more of an
// edited file than the one to what the file was, which comes first.
func (l *looked) pack(ctx context.Context, out io.Writer, hash string) error {
	if l.objects != nil {
		return writePack(out, l.objects, hash)
	}
	var want bytes.Buffer
	want.WriteString(l.Tree + "\n")
	if l.Head != "" {
		want.WriteString(l.Head + "\n")
	}
	for _, ref := range l.Refs {
		want.WriteString(ref.ID + "\n")
	}
	if l.since != "" {
		want.WriteString("^" + l.since + "\n")
	}
	return l.own.Stream(ctx, &want, out, "pack-objects", "--revs", "--thin", "--shallow", "--stdout", "--delta-base-offset", "--window=1", "-q")
}
