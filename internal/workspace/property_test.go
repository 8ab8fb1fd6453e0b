package workspace

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var (
	cases        = flag.Int("cases", 500, "random edits that are brought out and applied")
	propertySeed = flag.Uint64("seed", 0, "seed of what is chosen; 0 is one of the clock's")
)

// editsOf is how many edits follow each other in one workspace.
const editsOf = 10

// Random repositories and random edits of a guest's and of the user's, through both
// halves and real git: after an apply the host's tree is the guest's, by id, and
// after a fetch its commits are.
func TestRandomWork(t *testing.T) {
	user(t)
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
	log  []string
}

func (w *randomWork) run() {
	t := w.t
	defer func() {
		if t.Failed() {
			t.Logf("what was done:\n%s", strings.Join(w.log, "\n"))
		}
	}()
	if err := os.Mkdir(w.repo, 0o755); err != nil {
		t.Fatal(err)
	}
	w.sh(w.repo, "git init -q")
	for range 1 + w.r.IntN(8) {
		w.edit(w.repo)
	}
	w.sh(w.repo, "git add -A; git commit -q --allow-empty -m first")
	for range w.r.IntN(4) {
		w.edit(w.repo)
	}
	if w.r.IntN(2) == 0 {
		w.sh(w.repo, "git add -A")
	}
	p := plan(t, w.repo, Options{IncludeUntracked: true})
	home, tree := send(t, p)
	const state = "git status --porcelain; git diff; git diff --cached; git ls-files -s"
	if got, want := sh(t, tree, state), sh(t, w.repo, state); got != want {
		t.Fatalf("the guest's git says\n%s\nthe host's\n%s", got, want)
	}
	s, err := NewStore(t.Context(), filepath.Join(t.TempDir(), "store"), p, Owner{Name: "dev", GuestPath: "repo"})
	if err != nil {
		t.Fatal(err)
	}
	for range editsOf {
		for range w.r.IntN(5) {
			w.edit(tree)
		}
		switch w.r.IntN(4) {
		case 0:
			w.sh(tree, "git add -A; git commit -q --allow-empty -m edit")
		case 1:
			w.sh(tree, "git add -A")
		}
		w.check(s, home, tree)
		if t.Failed() {
			return
		}
	}
}

// check brings the work out and into the user's repository by both ways, and takes
// it back.
func (w *randomWork) check(s Store, home, tree string) {
	t := w.t
	got := bringOut(t, s, home)
	want := treeOf(t, tree)
	if got.Tree != want {
		t.Errorf("the work's tree is %s, the guest's %s", got.Tree, want)
	}
	r, err := Open(t.Context(), w.repo, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Fetch(t.Context(), r, got, FetchOptions{Scratch: t.TempDir(), Name: "dev"}); err != nil {
		t.Error(err)
		return
	}
	if sh(t, w.repo, "git rev-parse refs/banger/dev/work^{tree}") != want+"\n" || got.Head != "" && strings.TrimSpace(sh(t, w.repo, "git rev-parse $(git for-each-ref --format='%(refname)' refs/banger/dev/heads)")) != got.Head {
		t.Error("what was fetched is not what the guest has")
	}
	before := treeOf(t, w.repo)
	const index = "git ls-files -s; git rev-parse HEAD"
	staged := sh(t, w.repo, index)
	o := []MergeOptions{{}, {Index: true}, {Commit: true}}[w.r.IntN(3)]
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
	w.checkIndex(m, staged)
	if now := treeOf(t, w.repo); now != want {
		t.Errorf("after apply the host's tree is %s, the guest's %s\n%s", now, want, sh(t, w.repo, "git diff --stat "+want+" 2>&1 || true"))
	}
	if before == want || w.r.IntN(3) > 0 {
		return // the next apply comes on top of this one
	}
	if _, err := Undo(t.Context(), r); err != nil {
		t.Errorf("Undo: %v", err)
	}
	if now := treeOf(t, w.repo); now != before {
		t.Errorf("after undo the host's tree is %s, before it was %s", now, before)
	}
	if now := sh(t, w.repo, index); now != staged {
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

// treeOf is the tree of all files in a work tree that git does not ignore.
func treeOf(t *testing.T, dir string) string {
	return strings.TrimSpace(sh(t, dir, "cp -p .git/index .git/i; GIT_INDEX_FILE=.git/i git add -A 2>/dev/null; GIT_INDEX_FILE=.git/i git write-tree 2>/dev/null; rm .git/i"))
}

func (w *randomWork) sh(dir, script string) {
	w.t.Helper()
	w.log = append(w.log, filepath.Base(dir)+": "+script)
	sh(w.t, dir, script)
}

// names of files: directories and files take each other's places.
var randomNames = []string{"a", "b", "a/x", "a/y", "d/e/f", "d/e", "d", "sp ace", "ü", "new\nline", "q\"uote", "-dash", "bin", "link", "\xff\xfe"}

// edit changes one path.
func (w *randomWork) edit(dir string) {
	name := randomNames[w.r.IntN(len(randomNames))]
	path := filepath.Join(dir, name)
	w.log = append(w.log, fmt.Sprintf("%s: edit %q", filepath.Base(dir), name))
	clear := func() {
		for at := filepath.Dir(path); len(at) > len(dir); at = filepath.Dir(at) {
			if fi, err := os.Lstat(at); err == nil && !fi.IsDir() {
				os.Remove(at)
			}
		}
		if fi, err := os.Lstat(path); err == nil && (fi.IsDir() || fi.Mode()&os.ModeSymlink != 0) {
			os.RemoveAll(path)
		}
		os.MkdirAll(filepath.Dir(path), 0o755)
	}
	var err error
	switch w.r.IntN(7) {
	case 0, 1: // text
		clear()
		var text bytes.Buffer
		for range w.r.IntN(20) {
			fmt.Fprintf(&text, "line %d\n", w.r.IntN(10))
		}
		err = os.WriteFile(path, text.Bytes(), 0o644)
	case 2: // bytes
		clear()
		b := make([]byte, w.r.IntN(3000))
		for i := range b {
			b[i] = byte(w.r.Uint32())
		}
		err = os.WriteFile(path, b, 0o644)
	case 3: // append
		clear()
		var f *os.File
		if f, err = os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644); err == nil {
			fmt.Fprintf(f, "more %d\n", w.r.IntN(1000))
			err = f.Close()
		}
	case 4: // modes
		if fi, serr := os.Lstat(path); serr == nil && fi.Mode().IsRegular() {
			err = os.Chmod(path, fi.Mode().Perm()^0o111)
		}
	case 5: // link
		clear()
		os.Remove(path)
		err = os.Symlink([]string{"a", "../x", "/etc/passwd", "nowhere"}[w.r.IntN(4)], path)
	case 6:
		os.RemoveAll(path) // what is below a file is not there
	}
	if err != nil {
		w.t.Fatalf("edit %q: %v", path, err)
	}
}
