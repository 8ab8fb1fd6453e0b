package workspace

import (
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var (
	cases        = flag.Int("cases", 1000, "random edits that are brought out and applied")
	propertySeed = flag.Uint64("seed", 0, "seed of what is chosen; 0 is one of the clock's")
)

// editsOf is how many edits follow each other in one workspace.
const editsOf = 20

// Random repositories and random edits of a guest's, through both halves and real
// git: after an apply the host's tree is the guest's, by id, and after a fetch its
// commits are.
func TestRandomWork(t *testing.T) {
	user(t)
	if dir := "/dev/shm"; unix.Access(dir, unix.W_OK) == nil {
		t.Setenv("TMPDIR", dir) // syncs of a disk that others use take longer than all the rest
	}
	seed := *propertySeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("go test -args -seed %d", seed)
	for n := range *cases / editsOf {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			w := &randomWork{t: t, r: rand.New(rand.NewPCG(seed, uint64(n))), repo: filepath.Join(t.TempDir(), "repo")}
			w.run()
		})
	}
}

type randomWork struct {
	t    *testing.T
	r    *rand.Rand
	repo string
	base map[string]bool // the paths that went in
	// converts says that git may change lines' ends.
	converts bool
	log      []string
}

func (w *randomWork) run() {
	t := w.t
	defer func() {
		if t.Failed() {
			t.Logf("what was done:\n%s", strings.Join(w.log, "\n"))
		}
	}()
	p := w.begin()
	home, tree := send(t, p)
	const state = "git status --porcelain; git diff; git diff --cached; git ls-files -sv"
	if got, want := sh(t, tree, state), sh(t, w.repo, state); got != want {
		t.Fatalf("the guest's git says\n%s\nthe host's\n%s", got, want)
	}
	s, err := NewStore(t.Context(), filepath.Join(t.TempDir(), "store"), p, Owner{Name: "dev", GuestPath: "repo"})
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
	for n := range editsOf {
		for range 1 + w.r.IntN(4) {
			w.edit(tree)
		}
		if w.r.IntN(2) == 0 {
			w.act(tree, slices.Concat(anywhere, inGuest))
		}
		w.check(s, home, tree, n == editsOf-1)
		if t.Failed() {
			return
		}
	}
}

// begin makes the user's repository, and the plan of what goes in.
func (w *randomWork) begin() *Plan {
	t := w.t
	if err := os.Mkdir(w.repo, 0o755); err != nil {
		t.Fatal(err)
	}
	conversion := conversions[w.r.IntN(len(conversions))]
	w.converts = conversion != ":"
	w.sh(w.repo, "git init -q; "+conversion)
	for range 1 + w.r.IntN(8) {
		w.edit(w.repo)
	}
	w.sh(w.repo, "git add -A; git commit -q --allow-empty -m first")
	for range w.r.IntN(4) {
		w.edit(w.repo)
	}
	for range w.r.IntN(3) {
		w.act(w.repo, anywhere)
	}
	p := plan(t, w.repo, Options{IncludeUntracked: true})
	w.base = map[string]bool{}
	for _, f := range p.Files {
		w.base[string(f.Path)] = true
	}
	// What git ignores here and stays here is in the way of a guest's file of that name.
	err := filepath.WalkDir(w.repo, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == ".git":
			return filepath.SkipDir
		case !d.IsDir() && !w.base[strings.TrimPrefix(path, w.repo+"/")]:
			w.note(w.repo, "rm %q", path)
			return os.Remove(path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// check brings the work out and into the user's repository, and takes it back.
func (w *randomWork) check(s Store, home, tree string, last bool) {
	t := w.t
	plain := w.r.IntN(2) == 0
	w.log = append(w.log, fmt.Sprintf("bring out, plain: %v", plain))
	got, err := s.Save(t.Context(), askIn(home, plain), nil)
	if err != nil {
		t.Fatal(err)
	}
	want, paths := w.treeOf(tree, w.base)
	if got.Tree != want {
		t.Errorf("the work's tree is %s, the guest's %s\n%s", got.Tree, want,
			sh(t, s.repo(), "git ls-tree -r "+got.Tree)+"\n"+sh(t, tree, "git ls-tree -r "+want+" 2>&1 || find . -path ./.git -prune -o -type f -exec git hash-object --no-filters {} \\; -print"))
		return
	}
	r, err := Open(t.Context(), w.repo, "")
	if err != nil {
		t.Fatal(err)
	}
	if last || w.r.IntN(3) == 0 {
		w.fetch(s, r, got, tree)
	}
	undo := w.r.IntN(4) == 0
	before := ""
	if undo {
		before, _ = w.treeOf(w.repo, paths)
	}
	const index = "git ls-files -s; git rev-parse HEAD"
	o, staged := MergeOptions{}, ""
	looks := w.r.IntN(3) == 0 // at the index
	if looks {
		o = []MergeOptions{{}, {Index: true}, {Commit: true}}[w.r.IntN(3)]
		o.Commit = o.Commit && r.underWay() == "" // which a commit would end
		staged = sh(t, w.repo, index)
	}
	m := mergeWith(t, w.repo, s, got, o)
	if len(m.Dirty)+len(m.HeadConflicts) > 0 { // the user's own edits are in the way
		o = MergeOptions{}
		m = mergeWith(t, w.repo, s, got, o)
	}
	w.log = append(w.log, fmt.Sprintf("apply %+v", o))
	if err := m.Apply(t.Context()); err != nil {
		t.Errorf("Apply: %v", err)
		return
	}
	if looks {
		w.checkIndex(m, staged)
	}
	if now, _ := w.treeOf(w.repo, paths); now != want {
		t.Errorf("after apply the host's tree is %s, the guest's %s\n%s", now, want, sh(t, w.repo, "git diff --stat "+want+" 2>&1 || true"))
	}
	if !undo || before == want {
		return // the next apply comes on top of this one
	}
	if _, err := Undo(t.Context(), r); err != nil {
		t.Errorf("Undo: %v", err)
	}
	if now, _ := w.treeOf(w.repo, paths); now != before {
		t.Errorf("after undo the host's tree is %s, before it was %s", now, before)
	}
	if looks && sh(t, w.repo, index) != staged {
		now := sh(t, w.repo, index)
		t.Errorf("after undo the index and HEAD are\n%s\nbefore they were\n%s", now, staged)
	}
}

// checkIndex compares what an apply staged and committed with its changes.
func (w *randomWork) checkIndex(m *Merge, before string) {
	t := w.t
	now := sh(t, w.repo, "git ls-files -s; git rev-parse HEAD")
	if m.staged == nil {
		if now != before {
			t.Errorf("the index and HEAD are\n%s\nbefore they were\n%s", now, before)
		}
		return
	}
	sh(t, w.repo, "git update-index -q --refresh || true")
	unstaged := sh(t, w.repo, "git diff-files --name-only -z")
	index := sh(t, w.repo, "git ls-files -z")
	for _, c := range m.Changes {
		if strings.Contains("\x00"+unstaged, "\x00"+string(c.Path)+"\x00") {
			t.Errorf("%q is not staged", c.Path)
		}
		if in := strings.Contains("\x00"+index, "\x00"+string(c.Path)+"\x00"); in != (c.NewMode != 0) {
			t.Errorf("%q is in the index: %v", c.Path, in)
		}
	}
	if id := m.Commit(); id != "" && !strings.HasSuffix(now, "\n"+id+"\n") {
		t.Errorf("HEAD is not at the commit %s:\n%s", id, now)
	}
}

// fetch brings the work into the user's refs, and compares those with the guest's.
func (w *randomWork) fetch(s Store, r *Repository, got Work, tree string) {
	t := w.t
	if _, err := s.Fetch(t.Context(), r, got, FetchOptions{Scratch: t.TempDir(), Name: "dev"}); err != nil {
		t.Errorf("Fetch: %v", err)
		return
	}
	const heads = "for-each-ref --format='%%(objectname) %%(refname:lstrip=%d)' %s"
	theirs, ours := sh(t, tree, "git "+fmt.Sprintf(heads, 2, "refs/heads")), sh(t, w.repo, "git "+fmt.Sprintf(heads, 4, "refs/banger/dev/heads"))
	if theirs != ours {
		t.Errorf("the guest's branches are\n%s\nwhat was fetched is\n%s", theirs, ours)
	}
	theirs, ours = sh(t, tree, "git rev-list --walk-reflogs refs/stash -- 2>/dev/null || true"), sh(t, w.repo, "git for-each-ref --sort=version:refname --format='%(objectname)' refs/banger/dev/stash")
	if theirs != ours {
		t.Errorf("the guest's stash is\n%s\nwhat was fetched is\n%s", theirs, ours)
	}
	if id := w.git(w.repo, "", "rev-parse", "refs/banger/dev/work^{tree}"); id != got.Tree {
		t.Errorf("the tree that was fetched is %s, the guest's %s", id, got.Tree)
	}
	if head := strings.TrimSpace(sh(t, tree, "git rev-parse -q --verify HEAD || true")); head != got.Head {
		t.Errorf("the work's head is %s, the guest's %s", got.Head, head)
	} else if head != "" {
		w.git(w.repo, "", "merge-base", "--is-ancestor", head, "refs/banger/dev/work")
	}
}

// treeOf is the tree of a work tree's files but of those that git ignores, and their
// paths; those of keep count though git ignores them. Files are found without git, and
// if it converts none, the tree is made without it; else in an index of its own.
func (w *randomWork) treeOf(dir string, keep map[string]bool) (id string, paths map[string]bool) {
	w.t.Helper()
	paths = map[string]bool{}
	rules := false
	var repos []string // each in the others' eyes a directory of its own rules
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.Name() == ".git" && d.IsDir():
			repos = append(repos, filepath.Dir(path))
			return filepath.SkipDir
		case d.IsDir():
			return nil
		}
		rules = rules || d.Name() == ".gitignore"
		paths[strings.TrimPrefix(path, dir+"/")] = true
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if rules {
		// What the outermost repository tracks counts, whatever those inside say of it. An
		// entry of a repository that is none any more hides the files from git.
		tracked := map[string]bool{}
		var gone strings.Builder
		for line := range strings.SplitSeq(w.git(dir, "", "ls-files", "-s", "-z"), "\x00") {
			head, name, _ := strings.Cut(line, "\t")
			tracked[name] = true
			if strings.HasPrefix(head, "160000 ") && !slices.Contains(repos, filepath.Join(dir, name)) {
				gone.WriteString(name + "\x00")
			}
		}
		index := ""
		if gone.Len() > 0 {
			index = filepath.Join(dir, ".git", "oracle")
			defer os.Remove(index)
			sh(w.t, dir, "cp .git/index .git/oracle")
			w.gitIndex(dir, index, gone.String(), "update-index", "--force-remove", "-z", "--stdin")
		}
		for _, repo := range repos {
			if repo != dir {
				index = ""
			}
			for name := range strings.SplitSeq(w.gitIndex(repo, index, "", "ls-files", "-o", "-i", "--exclude-standard", "-z"), "\x00") {
				isRepo := strings.HasSuffix(name, "/") // whose files git does not list
				name = strings.TrimPrefix(filepath.Join(repo, name), dir+"/")
				maps.DeleteFunc(paths, func(path string, _ bool) bool {
					is := path == name || isRepo && strings.HasPrefix(path, name+"/")
					return is && !keep[path] && !tracked[path]
				})
			}
		}
	}
	if !w.converts {
		return hex.EncodeToString(plainTree(w.t, dir, "", paths)), paths
	}
	var list strings.Builder
	for name := range paths {
		list.WriteString(name + "\x00")
	}
	index := filepath.Join(dir, ".git", "oracle.new")
	defer os.Remove(index)
	w.gitIndex(dir, index, list.String(), "update-index", "--add", "-z", "--stdin")
	return w.gitIndex(dir, index, "", "write-tree"), paths
}

// plainTree is the id of the tree of those of paths that lie below at, a directory of
// root: of their bytes as they are, and made without git. It is nil if there are none.
func plainTree(t *testing.T, root, at string, paths map[string]bool) []byte {
	t.Helper()
	list, err := os.ReadDir(filepath.Join(root, at))
	if err != nil {
		t.Fatal(err)
	}
	var entries []string // each by the name that git orders it by, NUL, and as it stands in the tree
	for _, e := range list {
		name := filepath.Join(at, e.Name())
		mode, id := "40000", []byte(nil)
		switch {
		case e.IsDir():
			if e.Name() == ".git" {
				continue
			}
			if id = plainTree(t, root, name, paths); id == nil {
				continue
			}
		case !paths[name]:
			continue
		default:
			mode, id = plainBlob(t, filepath.Join(root, name))
		}
		order := e.Name()
		if e.IsDir() {
			order += "/"
		}
		entries = append(entries, fmt.Sprintf("%s\x00%s %s\x00%s", order, mode, e.Name(), id))
	}
	if len(entries) == 0 && at != "" {
		return nil
	}
	slices.Sort(entries)
	var text strings.Builder
	for _, e := range entries {
		_, entry, _ := strings.Cut(e, "\x00")
		text.WriteString(entry)
	}
	return object("tree", text.String())
}

// plainBlob is the mode and the id of a file or a link, as git's trees have them.
func plainBlob(t *testing.T, path string) (mode string, id []byte) {
	t.Helper()
	fi, err := os.Lstat(path)
	var text []byte
	if err == nil && fi.Mode()&fs.ModeSymlink != 0 {
		target, err := os.Readlink(path)
		if err != nil {
			t.Fatal(err)
		}
		return "120000", object("blob", target)
	}
	if err == nil {
		text, err = os.ReadFile(path)
	}
	if err != nil {
		t.Fatal(err)
	}
	if fi.Mode()&0o100 != 0 {
		return "100755", object("blob", string(text))
	}
	return "100644", object("blob", string(text))
}

// object is an object's id.
func object(kind, text string) []byte {
	id := sha1.Sum(fmt.Appendf(nil, "%s %d\x00%s", kind, len(text), text))
	return id[:]
}

func (w *randomWork) git(dir, in string, args ...string) string {
	w.t.Helper()
	return w.gitIndex(dir, "", in, args...)
}

// gitIndex runs the user's git with an index; "" is the repository's.
func (w *randomWork) gitIndex(dir, index, in string, args ...string) string {
	w.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(in)
	if index != "" {
		cmd.Env = append(os.Environ(), "GIT_INDEX_FILE="+index)
	}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		w.t.Errorf("git %q in %q: %v\n%s", args, dir, err, &errs)
	}
	return strings.TrimSpace(string(out))
}

func (w *randomWork) sh(dir, script string) {
	w.t.Helper()
	w.note(dir, "%s", script)
	sh(w.t, dir, script)
}

func (w *randomWork) note(dir, format string, args ...any) {
	where := "host"
	if dir != w.repo {
		where = "guest"
	}
	w.log = append(w.log, where+": "+fmt.Sprintf(format, args...))
}
