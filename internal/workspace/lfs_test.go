package workspace

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"banger/internal/agent/program"
	guest "banger/internal/agent/workspace"
	"banger/internal/lfs"
	"banger/internal/workspace/wire"
)

// The test binary is the agent's program that a guest's git starts.
func TestMain(m *testing.M) {
	if program.Has(os.Args[1:]) {
		os.Exit(program.Main(os.Args[1:]))
	}
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	lfs.Agent = self
	os.Exit(m.Run())
}

// userLFS makes a home for a user's git that has a filter.lfs: the one that guests
// have, which on the host only the user's own git starts.
func userLFS(t *testing.T) {
	t.Helper()
	user(t)
	for _, s := range lfs.Settings() {
		sh(t, "/", fmt.Sprintf("git config --global %s '%s'", s.Key, s.Value))
	}
}

// lfsRepository makes a repository with LFS files: one as committed, one edited, one
// new, one whose content is not there.
func lfsRepository(t *testing.T) string {
	t.Helper()
	repo := t.TempDir()
	sh(t, repo, `git init -q; echo '*.bin filter=lfs diff=lfs merge=lfs -text' >.gitattributes
		echo 1 >f; for i in a b c; do yes $i | head -c 5000 >$i.bin; done; : >empty.bin; touch -d @1700000000 *; git add .; git commit -qm one
		rm c.bin; rm -r .git/lfs/objects/*/*/$(git show :c.bin | sed -n 's/oid sha256://p'); GIT_LFS_SKIP_SMUDGE=1 git checkout c.bin; grep -q oid c.bin; touch -d @1700000000 c.bin; git status >../status
		yes edit | head -c 6000 >b.bin; yes new | head -c 7000 >new.bin; git add -N new.bin`)
	return repo
}

// LFS files go in with their content; the base has their pointers, and git says in the
// guest what it says on the host, without a look at them.
func TestLFSIn(t *testing.T) {
	userLFS(t)
	repo := lfsRepository(t)
	p := plan(t, repo, Options{IncludeUntracked: true})
	if p.Changed != 2 || p.Pointers != 1 || len(p.content) != 3 || len(p.Filters) != 0 {
		t.Errorf("plan: %d changed, %d pointers, contents %v, filters %v", p.Changed, p.Pointers, p.content, p.Filters)
	}
	for _, f := range p.Files {
		if text := sh(t, p.s.repo, fmt.Sprintf("git --git-dir=. show %s:%s", p.Base, f.Path)); strings.HasSuffix(string(f.Path), ".bin") && text != "" && !strings.HasPrefix(text, "version ") {
			t.Errorf("the base's %s is %.40q", f.Path, text)
		}
	}
	_, tree := send(t, p)
	const state = "git status --porcelain; git ls-files -s; wc -c *"
	if got, want := sh(t, tree, state), sh(t, repo, state); got != want {
		t.Errorf("the guest says\n%s\nthe host\n%s", got, want)
	}
	// A filter that can't run would tell of a file that is read again.
	sh(t, tree, `git -c filter.lfs.process=false -c filter.lfs.clean=false diff-files --quiet -- a.bin c.bin empty.bin`)
	// What went in comes back, by one process of the filter for all.
	sh(t, tree, `git rm -q --cached new.bin; cp a.bin ../a; echo x >>a.bin; git stash -q; cmp a.bin ../a; git stash pop -q; test $(wc -c <a.bin) = 5002; git checkout -q a.bin; cmp a.bin ../a`)
	// A commit's tree, without the user's edits.
	p = plan(t, repo, Options{From: "HEAD", NewBranch: "n"})
	if p.Changed != 0 || len(p.content) != 2 {
		t.Errorf("plan of a commit: %d changed, contents %v", p.Changed, p.content)
	}
	_, tree = send(t, p)
	sh(t, tree, `test -z "$(git status --porcelain)"; test "$(head -c 1 b.bin)" = b; grep -q oid c.bin`)
}

// What a guest does to LFS files comes out as pointers, and their contents with them.
func TestLFSOut(t *testing.T) {
	userLFS(t)
	repo := lfsRepository(t)
	p := plan(t, repo, Options{})
	home, tree := send(t, p)
	s, err := NewStore(t.Context(), filepath.Join(t.TempDir(), "store"), p, Owner{Name: "dev", GuestPath: "repo"})
	if err != nil {
		t.Fatal(err)
	}
	if w := bringOut(t, s, home); w.Files != 0 || w.Lacking != 0 {
		t.Errorf("before any change: %+v", w)
	}
	sh(t, tree, `yes old | head -c 3000 >a.bin; git commit -qam gone; yes committed | head -c 4000 >a.bin; git commit -qam a
		yes worktree | head -c 8000 >b.bin; mkdir d; yes deep | head -c 9000 >d/x.bin; git mv c.bin moved.bin
		yes lost | head -c 2000 >lost.bin; git add lost.bin; git commit -qm lost; rm .git/lfs/objects/*/*/$(git show :lost.bin | sed -n 's/oid sha256://p'); rm lost.bin
		find .git/lfs/objects -type f | sort >../before`)
	w := bringOut(t, s, home)
	if w.Files != 5 || w.Commits != 3 || w.Lacking != 1 || w.Lacks[0] != "lost.bin" {
		t.Errorf("Import = %+v", w)
	}
	sh(t, tree, `find .git/lfs/objects -type f | sort | cmp - ../before`)
	var patch bytes.Buffer
	if err := s.Patch(t.Context(), &patch, w, PatchOptions{}); err != nil || !strings.Contains(patch.String(), "+size 8000") {
		t.Errorf("Patch = %v:\n%s", err, &patch)
	}
	r, err := Open(t.Context(), repo, "")
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Fetch(t.Context(), r, w, FetchOptions{Scratch: t.TempDir(), Name: "dev", As: "new"})
	// The guest committed the user's edit and new file: their contents come along, since
	// the user's git has kept none.
	if err != nil || got.Objects != 6 || got.NoObjects != nil {
		t.Errorf("Fetch = %+v, %v", got, err)
	}
	if again, err := s.Fetch(t.Context(), r, w, FetchOptions{Scratch: t.TempDir(), Name: "dev"}); err != nil || again.Objects != 0 {
		t.Errorf("the second Fetch = %+v, %v", again, err)
	}
	sh(t, repo, `git worktree add -q ../wt new; cd ../wt; test "$(wc -c <b.bin) $(wc -c <d/x.bin) $(wc -c <a.bin)" = "8000 9000 4000"; git checkout -q HEAD~3; test $(wc -c <a.bin) = 3000`)
	m := merge(t, repo, s, w)
	if err := m.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(m.Pointers) != 1 || m.Pointers[0] != "moved.bin" {
		t.Errorf("after Apply these are pointers: %q", m.Pointers)
	}
	if out := sh(t, repo, `wc -c <a.bin; wc -c <b.bin; wc -c <d/x.bin; wc -c <new.bin; head -c 7 moved.bin; git add -A; git write-tree`); !strings.HasPrefix(out, "4000\n8000\n9000\n7000\nversion") {
		t.Errorf("after Apply:\n%s", out)
	} else if !strings.Contains(out, w.Tree) {
		t.Errorf("after Apply the tree is not %s:\n%s", w.Tree, out)
	}
	if n, err := Undo(t.Context(), r); err != nil || n == 0 {
		t.Errorf("Undo = %d, %v", n, err)
	}
	sh(t, repo, `test "$(head -c 4 b.bin)" = edit; test ! -e d`)
}

// A save beside a store has the contents that the store has, and brings only what is
// new; a drop gives their room back.
func TestLFSBeside(t *testing.T) {
	userLFS(t)
	repo := lfsRepository(t)
	p := plan(t, repo, Options{})
	home, tree := send(t, p)
	s, err := NewStore(t.Context(), filepath.Join(t.TempDir(), "store"), p, Owner{Name: "dev", GuestPath: "repo"})
	if err != nil {
		t.Fatal(err)
	}
	sh(t, tree, `yes one | head -c 3000 >one.bin`)
	first := bringOut(t, s, home)
	b, err := s.Beside(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	sh(t, tree, `yes two | head -c 4000 >two.bin; rm -r .git/lfs`)
	second := bringOut(t, b, home)
	if found, _ := filepath.Glob(filepath.Join(b.Dir, lfs.Objects, "*", "*", "*")); len(found) != 1 || second.Lacking != 0 {
		t.Errorf("beside the store are %q, %d are lacking", found, second.Lacking)
	}
	r, err := Open(t.Context(), repo, "")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := b.Fetch(t.Context(), r, second, FetchOptions{Scratch: t.TempDir(), Name: "dev"}); err != nil || got.Objects != 2 {
		t.Errorf("Fetch = %+v, %v", got, err)
	}
	full := func() (int64, error) { return 3999, nil }
	list, err := s.Wanted(t.Context(), first)
	if err != nil || len(list) != 0 {
		t.Errorf("Wanted = %v, %v after a save", list, err)
	}
	big := wire.Object{OID: strings.Repeat("1", 64), Size: 4000}
	var answer bytes.Buffer
	if err := wire.WriteJSON(&answer, big); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ImportObjects(t.Context(), &answer, []wire.Object{big}, first, full); !errors.Is(err, ErrNoRoom) {
		t.Errorf("ImportObjects without room = %v", err)
	}
	if err := (Saved{Store: s, Work: first}).Drop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(filepath.Join(s.Dir, "lfs")); err == nil {
		t.Error("Drop left the contents")
	}
}

// A mode is no content: the file that the user has stays what it is. A user whose git
// has no filter gets pointers, as before.
func TestLFSApply(t *testing.T) {
	userLFS(t)
	repo := lfsRepository(t)
	s, w := imported(t, repo, `chmod +x a.bin; cp a.bin copy.bin; yes n | head -c 3000 >n.bin`)
	sh(t, repo, "rm -r .git/lfs")
	m := merge(t, repo, s, w)
	if err := m.Apply(t.Context()); err != nil || len(m.Pointers) != 0 {
		t.Errorf("Apply = %v, pointers %q", err, m.Pointers)
	}
	sh(t, repo, `test -x a.bin; test $(wc -c <a.bin) = 5000; cmp a.bin copy.bin; test $(wc -c <n.bin) = 3000`)
	user(t)
	bare := t.TempDir()
	sh(t, bare, `cd "`+repo+`"; git archive HEAD | tar x -C "`+bare+`"; cd "`+bare+`"; git init -q; git add .; git commit -qm one; git cat-file -p HEAD:a.bin | grep oid`)
	s, w = imported(t, bare, `yes n | head -c 3000 >a.bin; yes m | head -c 3000 >m.bin; git add .; git commit -qm two`)
	m = merge(t, bare, s, w)
	if err := m.Apply(t.Context()); err != nil || len(m.Pointers) != 2 {
		t.Errorf("Apply = %v, pointers %q", err, m.Pointers)
	}
	sh(t, bare, `grep oid a.bin; grep oid m.bin; git add .; test "$(git write-tree)" = `+w.Tree)
}

// An ignored LFS file that went in comes back by an apply, and a fetch brings nothing
// of it.
func TestLFSPrivate(t *testing.T) {
	userLFS(t)
	repo := lfsRepository(t)
	sh(t, repo, `echo /secret.bin >.gitignore; yes SECRET | head -c 5000 >secret.bin`)
	p := plan(t, repo, Options{Include: []string{"secret.bin"}})
	home, tree := send(t, p)
	s, err := NewStore(t.Context(), filepath.Join(t.TempDir(), "store"), p, Owner{Name: "dev", GuestPath: "repo"})
	if err != nil {
		t.Fatal(err)
	}
	sh(t, tree, `echo MORE >>secret.bin`)
	w := bringOut(t, s, home)
	r, err := Open(t.Context(), repo, "")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Fetch(t.Context(), r, w, FetchOptions{Scratch: t.TempDir(), Name: "dev"}); err != nil || got.Objects != 0 {
		t.Errorf("Fetch = %+v, %v", got, err)
	}
	sh(t, repo, `! grep -rl SECRET .git`)
	if err := merge(t, repo, s, w).Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	sh(t, repo, `test $(wc -c <secret.bin) = 5005`)
}

// Files under other filters go in and out as their bytes are, and are counted.
func TestOtherFilters(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; git config filter.x.clean 'tr a-z A-Z'; git config filter.x.smudge 'tr A-Z a-z'
		printf '*.x filter=x\n*.y filter=y\n*.z -filter\n' >.gitattributes; for i in 1.x 2.x 1.y 1.z f; do echo text >$i; touch -d @1700000000 $i; done; git add .; git commit -qm one; git show HEAD:1.x | grep TEXT`)
	p := plan(t, repo, Options{})
	if fmt.Sprint(p.Filters) != "map[x:2 y:1]" || p.Changed != 0 {
		t.Errorf("filters %v, %d changed", p.Filters, p.Changed)
	}
	_, w := imported(t, repo, `test -z "$(git status --porcelain)"; echo f >>f`)
	if w.Files != 1 {
		t.Errorf("Import = %+v, want one file", w)
	}
	s, w := imported(t, repo, `echo other >1.x`)
	var patch bytes.Buffer
	if err := s.Patch(t.Context(), &patch, w, PatchOptions{}); err != nil || !strings.Contains(patch.String(), "-TEXT\n+other\n") || w.Files != 1 {
		t.Errorf("Patch = %v, %+v:\n%s", err, w, &patch)
	}
}

// What a guest may answer when it is asked for contents.
func TestHostileObjects(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; echo '*.bin filter=lfs' >.gitattributes; echo 1 >f; git add .; git commit -qm one`)
	s, w := imported(t, repo, `echo 2 >>f`)
	content := []byte("content")
	is, err := lfs.Hash(bytes.NewReader(content), &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	want := wire.Object{OID: is.OID, Size: is.Size, Path: []byte("a.bin")}
	huge := wire.Object{OID: is.OID, Size: 50 << 30, Path: []byte("huge.bin")}
	line := func(o wire.Object, more string) string {
		var b bytes.Buffer
		if err := wire.WriteJSON(&b, o); err != nil {
			t.Fatal(err)
		}
		return b.String() + more
	}
	other := want
	other.OID = strings.Repeat("0", 64)
	longer := want
	longer.Size++
	outside := want
	outside.OID = "../../../../outside"
	for name, c := range map[string]struct {
		want    wire.Object
		in      string
		refused string // part of the message; "" if it is noted as lacking
	}{
		"another content":   {want, line(want, "CONTENT"), ""},
		"missing":           {want, line(wire.Object{OID: want.OID, Size: want.Size, Missing: true}, ""), ""},
		"another oid":       {want, line(other, "content"), "it sends"},
		"another size":      {want, line(longer, "content!"), "it sends"},
		"a path for an oid": {want, line(outside, "content"), "it sends"},
		"cut":               {want, line(want, "con"), "unexpected EOF"},
		"nothing":           {want, "", "EOF"},
		"no JSON":           {want, "content\n", "invalid character"},
		"50 GiB":            {huge, line(huge, "content"), "more than there is room for"},
		"50 GiB, missing":   {huge, line(wire.Object{OID: huge.OID, Size: huge.Size, Missing: true}, ""), ""},
	} {
		got, err := s.ImportObjects(t.Context(), strings.NewReader(c.in), []wire.Object{c.want}, w, nil)
		switch {
		case c.refused == "" && (err != nil || got.Lacking != 1):
			t.Errorf("%s: ImportObjects = %+v, %v", name, got, err)
		case c.refused != "" && (err == nil || !strings.Contains(err.Error(), c.refused) || !strings.Contains(err.Error(), string(c.want.Path))):
			t.Errorf("%s: the error is %v, want %q", name, err, c.refused)
		}
		if found, _ := filepath.Glob(filepath.Join(s.Dir, lfs.Objects, "*", "*", "*")); len(found) > 0 {
			t.Errorf("%s: the store has %q", name, found)
		}
		if left, _ := filepath.Glob(filepath.Join(s.Dir, incoming+"*")); len(left) > 0 {
			t.Errorf("%s: %q are left", name, left)
		}
	}
	if got, err := s.ImportObjects(t.Context(), strings.NewReader(line(want, "content")), []wire.Object{want}, w, nil); err != nil || got.Lacking != 0 || !s.has(is) {
		t.Errorf("ImportObjects = %+v, %v", got, err)
	}
}

// More pointers than a save may have are an error, however small they are.
func TestManyPointers(t *testing.T) {
	user(t)
	defer func(old int) { maxObjects = old }(maxObjects)
	maxObjects = 1000
	repo := t.TempDir()
	sh(t, repo, `git init -q; echo 1 >f; git add .; git commit -qm one`)
	script := `seq %d | while read n; do printf 'version https://git-lfs.github.com/spec/v1\noid sha256:%%064d\nsize 53687091200\n' $n >p$n; done`
	s, w := imported(t, repo, fmt.Sprintf(script, 999))
	if list, err := s.Wanted(t.Context(), w); err != nil || len(list) != 999 || w.Lacking != 999 || len(w.Lacks) != maxLacks {
		t.Errorf("Wanted gives %d, %v; lacking are %d: %q", len(list), err, w.Lacking, w.Lacks)
	}
	p := plan(t, repo, Options{})
	home, tree := send(t, p)
	s, err := NewStore(t.Context(), filepath.Join(t.TempDir(), "store"), p, Owner{Name: "dev", GuestPath: "repo"})
	if err != nil {
		t.Fatal(err)
	}
	sh(t, tree, fmt.Sprintf(script, 1001))
	if _, err := tryToBringOut(t.Context(), s, home); err == nil || !strings.Contains(err.Error(), "more than 1000 new LFS files") {
		t.Errorf("with 1001 pointers: %v", err)
	}
}

// Where contents are is not the repository's to say.
func TestHostileLFS(t *testing.T) {
	userLFS(t)
	for name, script := range map[string]string{
		"storage elsewhere": `git config lfs.storage "$HOME/elsewhere"`,
		"a link":            `mv .git/lfs "$HOME/elsewhere"; ln -s "$HOME/elsewhere" .git/lfs`,
		"a link below":      `mkdir -p "$HOME/elsewhere"; rm -rf .git/lfs; mkdir .git/lfs; ln -s "$HOME/elsewhere" .git/lfs/objects`,
		"a file":            `rm -rf .git/lfs; echo x >.git/lfs`,
	} {
		t.Run(name, func(t *testing.T) {
			repo := lfsRepository(t)
			s, w := imported(t, repo, `yes guest | head -c 3000 >a.bin`)
			sh(t, repo, script+`; mkdir -p "$HOME/elsewhere"; find "$HOME/elsewhere" -type f | sort >../before`)
			r, err := Open(t.Context(), repo, "")
			if err != nil {
				t.Fatal(err)
			}
			got, err := s.Fetch(t.Context(), r, w, FetchOptions{Scratch: t.TempDir(), Name: "dev"})
			if err != nil || (got.NoObjects == nil) != (name == "storage elsewhere") || got.Refs["refs/banger/dev/work"] == "" {
				t.Errorf("Fetch = %+v, %v", got, err)
			}
			if err := merge(t, repo, s, w).Apply(t.Context()); err != nil {
				t.Error(err)
			}
			sh(t, repo, `find "$HOME/elsewhere" -type f | sort | cmp - ../before; test $(wc -c <a.bin) = 3000; rm -r "$HOME/elsewhere"`)
		})
	}
	// Nothing is read through a link either.
	repo := lfsRepository(t)
	sh(t, repo, `git reset -q --hard; mv .git/lfs "$HOME/lfs"; ln -s "$HOME/lfs" .git/lfs`)
	if p := plan(t, repo, Options{From: "HEAD", NewBranch: "n"}); len(p.content) != 0 {
		t.Errorf("contents through a link: %v", p.content)
	}
}

// The user's own git-lfs takes what came out.
func TestRealLFS(t *testing.T) {
	if _, err := exec.LookPath("git-lfs"); err != nil {
		t.Skip("git-lfs is not installed (package git-lfs)")
	}
	user(t)
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	sh(t, "/", "git lfs install --skip-repo")
	repo := lfsRepository(t)
	s, w := imported(t, repo, `test -z "$(git status --porcelain -- a.bin c.bin)"; yes guest | head -c 3000 >a.bin; git commit -qam two; yes w | head -c 2000 >w.bin`)
	r, err := Open(t.Context(), repo, "")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Fetch(t.Context(), r, w, FetchOptions{Scratch: t.TempDir(), Name: "dev", As: "new"}); err != nil || got.Objects != 4 {
		t.Errorf("Fetch = %+v, %v", got, err)
	}
	sh(t, repo, `git lfs fsck --objects main..new; GIT_LFS_SKIP_SMUDGE=0 git -c lfs.fetchexclude=c.bin worktree add -q ../wt new; cd ../wt; test "$(wc -c <a.bin) $(wc -c <w.bin)" = "3000 2000"`)
	if err := merge(t, repo, s, w).Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	sh(t, repo, `git add -A; test "$(git write-tree)" = `+w.Tree)
}

// tryToBringOut is what the daemon does at a save.
func tryToBringOut(ctx context.Context, s Store, home string) (Work, error) {
	return s.Save(ctx, askIn(home, false), nil)
}

// askIn asks a guest with that home; plain has its git find out all of it.
func askIn(home string, plain bool) Ask {
	return func(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
		if plain && args[1] == wire.Answer {
			var q wire.Question
			if err := wire.ReadJSON(bufio.NewReader(in), &q); err != nil {
				return err
			}
			q.Plain = true
			var line bytes.Buffer
			if err := wire.WriteJSON(&line, q); err != nil {
				return err
			}
			in = &line
		}
		return guest.Run(ctx, args[1:], home, in, out)
	}
}

// A commit has pointers, whose contents the user's git gets; a conflict in a content
// can have no markers.
func TestLFSCommit(t *testing.T) {
	userLFS(t)
	repo := lfsRepository(t)
	s, w := imported(t, repo, `yes guest | head -c 4000 >a.bin; yes n | head -c 3000 >n.bin`)
	if err := mergeWith(t, repo, s, w, MergeOptions{Commit: true}).Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	sh(t, repo, `test -z "$(git status --porcelain a.bin n.bin)"; git show HEAD:a.bin | grep 'size 4000'; test $(wc -c <a.bin) = 4000
		rm a.bin n.bin; git checkout HEAD a.bin n.bin; test "$(wc -c <a.bin) $(wc -c <n.bin)" = "4000 3000"`)
	s, w = imported(t, repo, `yes theirs | head -c 4000 >a.bin; echo guest >>f`)
	sh(t, repo, `yes mine | head -c 4000 >a.bin`)
	m := mergeWith(t, repo, s, w, MergeOptions{Markers: true})
	if len(m.Conflicts) != 1 || m.Conflicts[0] != "a.bin" || m.Markable {
		t.Errorf("conflicts %q, markable %v", m.Conflicts, m.Markable)
	}
}
