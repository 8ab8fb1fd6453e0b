package workspace

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"banger/internal/lfs"
	"banger/internal/workspace/wire"
)

// Options say what of a repository goes in.
type Options struct {
	// Scratch is the directory in which the scratch repository is made; it needs room
	// for the changed files and for a pack of the history's last commit.
	Scratch string
	// IncludeUntracked takes in the files that git does not track and does not
	// ignore.
	IncludeUntracked bool
	// Include are patterns, as in a .gitignore, of ignored files that go in. They are
	// private: no object of them gets into the user's repository.
	Include []string
	// All takes in every file beneath the root, ignored ones too, as private.
	All bool
	// From is the name of a commit whose tree goes in, without any edit of the
	// user's; "" is the work tree.
	From string
	// NewBranch is the short name of the branch that the guest is on; "" is the user's.
	NewBranch string
	// Also are paths that go in if they are there, though git may ignore them.
	Also []string
	// Submodules says what becomes of submodules.
	Submodules Submodules

	keepIndex bool // keep the index as it was read, beside the scratch repository
}

// File is a file that goes in.
type File struct {
	Path []byte
	Mode uint32 // git's
	Size int64  // bytes; of a link, of its target's name

	stat indexStat
}

// Plan is what goes in, and the base: the state that what comes out is compared
// with. It holds a scratch repository; Close removes that.
type Plan struct {
	Repo  *Repository
	Files []File // in the order of their paths
	Bytes int64  // of all files
	// From is what Options said.
	From string
	// Head is the commit of HEAD, "" on an unborn branch; Subject its first line;
	// Branch the full name of the branch that HEAD names, "" if it is detached.
	Head, Subject, Branch string
	// UnderWay is the operation of git's that the user has not ended, as "merge"; "" if
	// there is none. Its files and its index go in, the operation stays.
	UnderWay string
	// Base is a commit whose tree is Tree, the clean form of all that goes in; its
	// parent is Head.
	Base, Tree string
	// Changed counts the paths in which Base differs from Head.
	Changed int
	// Untracked counts the files that stay behind because git does not track them;
	// those that git ignores are not counted.
	Untracked int
	// Private are the ignored files that go in.
	Private [][]byte
	// Secrets are tracked files whose names say that they hold secrets.
	Secrets [][]byte
	// Filters counts the files under each filter that banger does not know
	// (gitattributes(5)): their bytes go in as they are.
	Filters map[string]int
	// Pointers counts the LFS files whose content is not in the tree that goes in.
	Pointers int

	// Submodules are the plans of the submodules that are checked out, and of theirs, in
	// the order of their paths; At is where in the outermost repository this one is, "" if
	// it is that.
	Submodules []*Plan
	At         string

	depth   int     // in how many repositories it lies
	id      string  // of this copy; the guest's repository bears it
	entries []entry // of the user's index
	same    map[string]bool
	// unlinked are the first entries of submodules in a conflict.
	unlinked []entry
	content  map[string]lfs.Pointer // of the LFS files that go in with their content
	staged   string                 // the tree of the user's index, if it may be neither HEAD's nor Tree
	partial  bool                   // objects of the index or of HEAD are missing
	pack     string                 // of the guest's repository, without its ending
	s        *scratch
	files    *tree
}

// Close removes the scratch repository.
func (p *Plan) Close() {
	for _, m := range p.Submodules {
		m.Close()
	}
	if p.files != nil {
		p.files.Close()
	}
	p.s.Close()
}

// NewPlan reads r and finds out what goes in. It changes nothing in r.
func NewPlan(ctx context.Context, r *Repository, o Options) (*Plan, error) {
	return newPlan(ctx, r, o, 0)
}

func newPlan(ctx context.Context, r *Repository, o Options, depth int) (_ *Plan, err error) {
	s, err := newScratch(o.Scratch, r)
	if err != nil {
		return nil, err
	}
	p := &Plan{Repo: r, From: o.From, id: rand.Text(), s: s, same: map[string]bool{}, content: map[string]lfs.Pointer{}, depth: depth}
	defer func() {
		if err != nil {
			p.Close()
			err = fmt.Errorf("read the repository %q: %w", r.Root, err)
		}
	}()
	if o.keepIndex {
		if err := copyRegular(filepath.Join(s.dir, indexSeen), filepath.Join(s.repo, "index")); err != nil {
			return nil, err
		}
	}
	if err := p.readHead(ctx, o); err != nil {
		return nil, err
	}
	if o.From == "" && !r.IsPlain() {
		p.UnderWay = r.underWay()
	}
	root := r.Root
	if o.From != "" {
		root = s.tree
		if err := s.checkOut(ctx, p.Head); err != nil {
			return nil, err
		}
	}
	if p.files, err = openTree(root); err != nil {
		return nil, err
	}
	if p.entries, err = readIndex(ctx, s.Git); err != nil {
		return nil, err
	}
	if o.From != "" {
		if err := p.smudge(ctx); err != nil {
			return nil, err
		}
	}
	if err := p.openSubmodules(ctx, o); err != nil {
		return nil, err
	}
	if err := p.compare(ctx, o); err != nil {
		return nil, err
	}
	return p, p.makeBase(ctx)
}

// readHead finds where HEAD is, or the commit that goes in instead.
func (p *Plan) readHead(ctx context.Context, o Options) error {
	if o.NewBranch != "" && !isBranch([]byte("refs/heads/"+o.NewBranch)) {
		return fmt.Errorf("%q can be no branch's name", o.NewBranch)
	}
	defer func() {
		if o.NewBranch != "" {
			p.Branch = "refs/heads/" + o.NewBranch
		}
	}()
	if o.From != "" {
		head, err := p.s.Line(ctx, nil, "rev-parse", "-q", "--verify", "--end-of-options", o.From+"^{commit}")
		if err != nil {
			return fmt.Errorf("%q names no commit", o.From)
		}
		p.Head = head
		p.Subject, err = p.s.Line(ctx, nil, "log", "-1", "--no-show-signature", "--format=%s", head)
		return err
	}
	if name, err := p.s.Line(ctx, nil, "symbolic-ref", "-q", "HEAD"); err == nil {
		p.Branch = name
	} else if ctx.Err() != nil {
		return ctx.Err()
	}
	head, err := p.s.Line(ctx, nil, "rev-parse", "-q", "--verify", "HEAD^{commit}")
	if err != nil {
		if p.Branch == "" {
			return fmt.Errorf("HEAD names no commit: %w", withHint(err))
		}
		return ctx.Err() // an unborn branch
	}
	p.Head = head
	p.Subject, err = p.s.Line(ctx, nil, "log", "-1", "--no-show-signature", "--format=%s", head)
	return err
}

// compare looks at each file of the index, and copies those into the scratch work
// tree that may be another than git last saw, in their clean form as far as that is a
// filter's.
func (p *Plan) compare(ctx context.Context, o Options) error {
	written := unix.Timespec{}
	if o.From != "" {
		written.Sec = math.MaxInt64 // nobody but us has written there
	} else if fi, err := os.Stat(filepath.Join(p.s.repo, "index")); err == nil { // with the time of the user's
		written = unix.NsecToTimespec(fi.ModTime().UnixNano())
	}
	trust := true
	if v, set := p.Repo.all().last("core.filemode"); set {
		trust = isTrue(v)
	}
	var changed []string
	var gone bytes.Buffer
	seen := ""
	for _, e := range p.entries {
		if string(e.Path) == seen { // a conflict's other stages
			continue
		}
		seen = string(e.Path)
		if why := badPath(e.Path); why != "" {
			return &NameError{e.Path, why} // it could never come out again
		}
		st, err := p.files.stat(seen)
		mode := gitMode(st.Mode, trust)
		switch {
		case e.Mode == modeGitlink && err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR:
			if o.Submodules == LeaveSubmodules {
				gone.WriteString(seen + "\x00")
			} else if e.Stage != 0 {
				p.unlinked = append(p.unlinked, e)
			}
			continue
		case errors.Is(err, fs.ErrNotExist), err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR:
			if e.Bits&wire.SkipWorktree == 0 {
				gone.WriteString(seen + "\x00")
			}
			continue
		case err != nil:
			return err
		case mode == 0:
			return fmt.Errorf("%q is %s: git can't have tracked that", seen, kind(st.Mode))
		}
		if !trust && mode == modeFile && e.Mode == modeExec {
			mode = modeExec
		}
		// What we have checked out is what the index names.
		known := o.From != "" || e.Stage == 0 && e.Bits&wire.IntentToAdd == 0 && mode == e.Mode && e.stat.matches(st) && e.stat.before(written)
		if path.Base(seen) == ".gitattributes" && o.From == "" {
			if err := p.copyIn(seen); err != nil {
				return err
			}
		}
		if !known {
			changed = append(changed, seen)
		}
		p.same[seen] = known
		p.add(seen, mode, st)
	}
	if o.From == "" {
		if err := p.findUntracked(ctx, o, &changed); err != nil {
			return err
		}
	}
	if err := p.filter(ctx, changed, o.From == ""); err != nil {
		return err
	}
	return p.hash(ctx, changed, &gone)
}

func (p *Plan) add(name string, mode uint32, st unix.Stat_t) {
	p.Files = append(p.Files, File{Path: []byte(name), Mode: mode, Size: st.Size, stat: statOf(st)})
	p.Bytes += st.Size
	if isSecretName(name) {
		p.Secrets = append(p.Secrets, []byte(name))
	}
}

// hash brings the scratch index up to the work tree: the clean form of each file
// that may have changed, by git's own conversions. It learns which of them are what
// the user's index names.
func (p *Plan) hash(ctx context.Context, changed []string, gone *bytes.Buffer) error {
	whole := !slices.ContainsFunc(p.entries, func(e entry) bool { return e.Stage != 0 })
	if whole && (gone.Len() > 0 || len(changed) > 0 || len(p.Submodules) > 0) {
		var err error
		if p.staged, err = p.s.Line(ctx, nil, "write-tree", "--missing-ok"); err != nil {
			return err
		}
	}
	if gone.Len() > 0 {
		if _, err := p.s.Run(ctx, gone, "update-index", "--force-remove", "-z", "--stdin"); err != nil {
			return err
		}
	}
	if err := p.linkSubmodules(ctx); err != nil {
		return err
	}
	if len(changed) == 0 {
		return nil
	}
	// A mark that says not to look would hide the change.
	for mark, args := range map[uint8]string{wire.AssumeUnchanged: "--no-assume-unchanged", wire.SkipWorktree: "--no-skip-worktree"} {
		var marked bytes.Buffer
		for _, e := range p.entries {
			if _, there := p.same[string(e.Path)]; there && e.Bits&mark != 0 {
				marked.Write(append(bytes.Clone(e.Path), 0))
			}
		}
		if marked.Len() > 0 {
			if _, err := p.s.Run(ctx, &marked, "update-index", args, "-z", "--stdin"); err != nil {
				return err
			}
		}
	}
	if _, err := p.s.Run(ctx, listOf(changed), "update-index", "--add", "--replace", "-z", "--stdin"); err != nil {
		return err
	}
	now := map[string]wire.Entry{}
	err := p.s.Names(ctx, nil, func(line []byte) error {
		e, err := parseStaged(line)
		now[string(e.Path)] = e
		return err
	}, "ls-files", "-z", "-s")
	if err != nil {
		return err
	}
	for _, e := range p.entries {
		if n, found := now[string(e.Path)]; found && e.Stage == 0 && e.Bits&wire.IntentToAdd == 0 && n.Mode == e.Mode && bytes.Equal(n.ID, e.ID) {
			if _, there := p.same[string(e.Path)]; there {
				p.same[string(e.Path)] = true
			}
		}
	}
	return nil
}

// makeBase writes the base's tree and commit.
func (p *Plan) makeBase(ctx context.Context) (err error) {
	if p.Tree, err = p.s.Line(ctx, nil, "write-tree", "--missing-ok"); err != nil {
		return err
	}
	args := []string{"commit-tree", p.Tree, "-m", "what went into the workspace"}
	if p.Head != "" {
		args = append(args, "-p", p.Head)
	}
	own := p.s.Git
	own.Env = append(slices.Clone(own.Env), commitEnv...)
	if p.Base, err = own.Line(ctx, nil, args...); err != nil {
		return err
	}
	if p.Head == "" {
		p.Changed = len(p.Files)
		return nil
	}
	return p.s.Names(ctx, nil, func([]byte) error { p.Changed++; return nil },
		"diff-tree", "-r", "-z", "--name-only", "--no-renames", "--no-ext-diff", p.Head, p.Base)
}

// commitEnv makes a commit of ours the same whenever and by whomever it is made.
var commitEnv = []string{
	"GIT_AUTHOR_NAME=banger", "GIT_AUTHOR_EMAIL=banger@localhost", "GIT_AUTHOR_DATE=@0 +0000",
	"GIT_COMMITTER_NAME=banger", "GIT_COMMITTER_EMAIL=banger@localhost", "GIT_COMMITTER_DATE=@0 +0000",
}

// listOf is a list of names as git takes it, each ended by NUL.
func listOf(names []string) io.Reader {
	if len(names) == 0 {
		return strings.NewReader("")
	}
	return strings.NewReader(strings.Join(names, "\x00") + "\x00")
}

// copyIn copies a file of the user's into the scratch work tree, over the copy that is
// there.
func (p *Plan) copyIn(name string) error {
	if target, _, err := p.files.link(name); err == nil {
		return errors.Join(p.s.remake(name), p.s.root.Symlink(target, name))
	}
	f, st, err := p.files.file(name)
	if err != nil {
		return p.unread(name, err)
	}
	defer f.Close()
	return p.s.put(name, f, fs.FileMode(st.Mode&0o700|0o400))
}

// unread is the error of a file that could not be opened: a ChangedError if it is no file
// any more.
func (p *Plan) unread(name string, err error) error {
	if st, serr := p.files.stat(name); serr == nil && st.Mode&unix.S_IFMT == unix.S_IFREG {
		return err
	}
	return &ChangedError{[]byte(name)}
}

// ChangedError is a file that changed while it was read.
type ChangedError struct{ Path []byte }

func (e *ChangedError) Error() string { return fmt.Sprintf("%q changed while it was read", e.Path) }

// isSecretName reports whether a file's name says that it holds a secret.
func isSecretName(name string) bool {
	base := strings.ToLower(path.Base(name))
	switch base {
	case ".netrc", ".npmrc", ".pypirc", ".pgpass", ".git-credentials", ".htpasswd", "credentials", "credentials.json",
		"id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "secrets.yml", "secrets.yaml", "secrets.json", "service-account.json":
		return true
	}
	if base == ".env" || strings.HasPrefix(base, ".env.") {
		return !slices.Contains([]string{".env.example", ".env.sample", ".env.template", ".env.dist"}, base)
	}
	return slices.Contains([]string{".pem", ".key", ".p12", ".pfx", ".jks", ".keystore", ".kdbx"}, path.Ext(base))
}

// objects passes on the ids of all objects that the guest's repository needs: those
// of HEAD's tree, of the base's, and of the index. What a partial clone never got can't
// go in; nothing is fetched for it.
func (p *Plan) objects(ctx context.Context) (io.Reader, error) {
	var out bytes.Buffer
	args := []string{"rev-list", "--objects", "--no-walk", "--missing=print", p.Base}
	for _, id := range []string{p.Head, p.staged} {
		if id != "" {
			args = append(args, id)
		}
	}
	err := p.s.Read(ctx, nil, func(r *bufio.Reader) error {
		for {
			line, err := r.ReadBytes('\n')
			switch {
			case errors.Is(err, io.EOF):
				return nil
			case err != nil:
				return err
			case line[0] == '?':
				p.partial = true
			default:
				out.Write(line)
			}
		}
	}, args...)
	if err != nil {
		return nil, err
	}
	staged := map[string]bool{}
	intent := false
	for _, e := range p.entries {
		if e.Mode == modeGitlink {
			continue // another repository's commit
		}
		staged[fmt.Sprintf("%x", e.ID)] = true
		intent = intent || e.Bits&wire.IntentToAdd != 0
	}
	if intent { // it names the empty blob, which git itself need not have
		if _, err := p.s.Run(ctx, nil, "hash-object", "-w", "--stdin"); err != nil {
			return nil, err
		}
	}
	var list strings.Builder
	for _, id := range slices.Sorted(maps.Keys(staged)) {
		list.WriteString(id + "\n")
	}
	have, err := p.s.Run(ctx, strings.NewReader(list.String()), "cat-file", "--batch-check=%(objectname) %(objecttype)")
	for line := range strings.Lines(string(have)) {
		id, kind, _ := strings.Cut(strings.TrimSpace(line), " ")
		if kind == "missing" {
			p.partial = true
			continue
		}
		out.WriteString(id + "\n")
	}
	return &out, err
}
