package workspace

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	guest "banger/internal/agent/workspace"
	"banger/internal/workspace/wire"
)

// sh runs a script with the user's own git, in dir.
func sh(t *testing.T, dir, script string) string {
	t.Helper()
	cmd := exec.Command("sh", "-euc", script)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

// user makes a home for the user's git.
func user(t *testing.T) {
	t.Helper()
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(home, ".config"))
	sh(t, home, `git config --global user.name U; git config --global user.email u@example.org; git config --global init.defaultBranch main`)
}

// plan makes a plan of the repository in dir.
func plan(t *testing.T, dir string, o Options) *Plan {
	t.Helper()
	r, err := Open(t.Context(), dir, "")
	if err != nil {
		t.Fatal(err)
	}
	o.Scratch = t.TempDir()
	p, err := NewPlan(t.Context(), r, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// send sends a plan into a guest's home, which it returns with the tree below it.
func send(t *testing.T, p *Plan) (home, tree string) {
	t.Helper()
	var stream bytes.Buffer
	if err := p.Send(t.Context(), &stream, SendOptions{Path: []byte("repo")}); err != nil {
		t.Fatal(err)
	}
	home = t.TempDir()
	got, err := guest.Receive(&stream, home)
	if err != nil {
		t.Fatal(err)
	}
	if got.Files != len(p.Files) || got.Bytes < 0 {
		t.Errorf("the guest has %d files, the plan %d", got.Files, len(p.Files))
	}
	return home, string(got.Path)
}

// The guest's git says what the host's says, and reads no file for it.
func TestInto(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; mkdir -p a/b; echo 1 >a/b/f; echo 2 >g; echo exec >x; chmod +x x; ln -s g link; printf '*.o\n' >.gitignore
		git add .; git commit -qm one; git commit -q --allow-empty -m two
		echo edited >>g; git rm -q --cached x; echo staged >s; git add s; rm a/b/f; echo new >new; echo o >y.o; git add -N new; echo left >left`)
	p := plan(t, repo, Options{})
	home, tree := send(t, p)
	want := strings.ReplaceAll(sh(t, repo, "git status --porcelain=v2 --branch; git log --format=%H -1; git diff; git diff --cached"), "? left\n", "")
	got := sh(t, tree, "git status --porcelain=v2 --branch; git log --format=%H -1; git diff; git diff --cached")
	if got != strings.ReplaceAll(want, "? x\n", "") {
		t.Errorf("the guest's git says\n%s\nthe host's\n%s", got, want)
	}
	if p.Untracked != 2 { // left, and x
		t.Errorf("%d files stay behind, want 2", p.Untracked)
	}
	sh(t, tree, "git fsck --strict && echo more >>s; echo n >untracked; git commit -qam three; echo after >>s; rm link")
	var out bytes.Buffer
	if err := guest.Report(t.Context(), wire.Question{Path: []byte("repo"), Base: p.Base, Head: p.Head, Hash: "sha1"}, home, &out); err != nil {
		t.Fatal(err)
	}
	line, pack, _ := bytes.Cut(out.Bytes(), []byte("\n"))
	t.Logf("%s and a pack of %d bytes", line, len(pack))
	if _, err := os.Stat(filepath.Join(tree, ".git")); err != nil {
		t.Error(err)
	}
}

// What comes out of the guest, as a patch, makes the host's tree the guest's.
func TestOut(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; mkdir d; for i in 1 2 3; do echo $i >d/$i; done; echo g >g; ln -s g link; head -c 3000 /dev/urandom >bin; git add .; git commit -qm one; echo dirty >>g`)
	p := plan(t, repo, Options{})
	home, tree := send(t, p)
	dir := filepath.Join(t.TempDir(), "store")
	s, err := NewStore(t.Context(), dir, p, Owner{GuestPath: []byte("repo")})
	if err != nil {
		t.Fatal(err)
	}
	sh(t, tree, `echo more >>d/1; git commit -qam two; git mv d/2 moved; chmod +x d/3; echo new >new; rm link; head -c 3000 /dev/urandom >bin; ln -s nowhere l2; mkdir sub; cd sub; git init -q; echo n >n`)
	q, err := s.Question(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := guest.Report(t.Context(), q, home, &out); err != nil {
		t.Fatal(err)
	}
	w, err := s.Import(t.Context(), &out)
	if err != nil {
		t.Fatal(err)
	}
	if w.Commits != 1 || w.Files != 9 || len(w.Nested) != 1 {
		t.Errorf("Import = %+v", w)
	}
	patch := filepath.Join(t.TempDir(), "patch")
	f, err := os.Create(patch)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Patch(t.Context(), f, w, PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	f.Close()
	sh(t, repo, "git apply "+patch+"; git add -A")
	if got := strings.TrimSpace(sh(t, repo, "git write-tree")); got != w.Tree {
		t.Errorf("the tree after git apply is %s, the guest's %s\n%s", got, w.Tree, sh(t, repo, "git diff --cached --stat "+w.Tree+" || git status"))
	}
}

// imported sends a repository into a guest, runs a script there, and brings its
// work out.
func imported(t *testing.T, repo, script string) (Store, Work) {
	t.Helper()
	p := plan(t, repo, Options{})
	home, tree := send(t, p)
	s, err := NewStore(t.Context(), filepath.Join(t.TempDir(), "store"), p, Owner{Name: "dev", GuestPath: []byte("repo")})
	if err != nil {
		t.Fatal(err)
	}
	sh(t, tree, script)
	return s, bringOut(t, s, home)
}

func bringOut(t *testing.T, s Store, home string) Work {
	t.Helper()
	q, err := s.Question(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := guest.Report(t.Context(), q, home, &out); err != nil {
		t.Fatal(err)
	}
	w, err := s.Import(t.Context(), &out)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// The guest's commits keep their ids, nothing of the user's moves, and what an
// earlier fetch brought stays.
func TestFetch(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; echo 1 >f; git add f; git commit -qm one; echo dirty >>f`)
	before := sh(t, repo, "git status --porcelain; git branch -a; cat .git/config")
	s, w := imported(t, repo, `git commit -qam two; git checkout -qb topic/x; echo 2 >>f; git commit -qam three; echo u >u`)
	r, err := Open(t.Context(), repo, "")
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Fetch(t.Context(), r, w, FetchOptions{Scratch: t.TempDir(), Name: "dev", As: "new"})
	if err != nil {
		t.Fatal(err)
	}
	if !got.Work || len(got.Old) != 0 || len(got.Refs) != 5 {
		t.Errorf("Fetch = %+v", got)
	}
	want := w.Head + "\n" + w.Commit + "\n" + w.Commit + "\n"
	if ids := sh(t, repo, "git rev-parse refs/banger/dev/heads/topic/x refs/banger/dev/work new; git fsck 1>&2"); ids != want {
		t.Errorf("the refs are at\n%s, want\n%s", ids, want)
	}
	sh(t, repo, "git branch -qD new")
	if after := sh(t, repo, "git status --porcelain; git branch -a; cat .git/config"); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	// Another VM of the same name, whose branch is where the other one had a directory.
	s2, w2 := imported(t, repo, `git checkout -qb topic; git commit -qam other`)
	if got, err = s2.Fetch(t.Context(), r, w2, FetchOptions{Scratch: t.TempDir(), Name: "dev"}); err != nil {
		t.Fatal(err)
	}
	if len(got.Old) == 0 {
		t.Errorf("Fetch = %+v, want refs for what was fetched before", got)
	}
	if lost := sh(t, repo, "git log --all --format=%H | grep -c -e "+w.Head+" -e "+w.Commit); strings.TrimSpace(lost) != "2" {
		t.Errorf("of the first work's two commits %s are reached", lost)
	}
	var exists *BranchExistsError
	if _, err := s2.Fetch(t.Context(), r, w2, FetchOptions{Scratch: t.TempDir(), Name: "dev", As: "main"}); !errors.As(err, &exists) {
		t.Errorf("Fetch as main = %v, want BranchExistsError", err)
	}
}

func merge(t *testing.T, repo string, s Store, w Work) *Merge {
	t.Helper()
	r, err := Open(t.Context(), repo, "")
	if err != nil {
		t.Fatal(err)
	}
	m, err := NewMerge(t.Context(), r, s, w, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// An apply merges with what the user did meanwhile, touches no file that both
// changed, and can be taken back.
func TestApply(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; seq 20 >f; echo g >g; mkdir d; echo 1 >d/1; echo x >x; ln -s f link; printf 'a\r\nb\r\n' >crlf; echo 'crlf eol=crlf' >.gitattributes; git add .; git commit -qm one; echo dirty >>g`)
	s, w := imported(t, repo, `echo end >>f; git commit -qam two; git rm -qr d; chmod +x x; mkdir n; echo n >n/n; rm link; ln -s g link; printf 'c\r\n' >>crlf`)
	sh(t, repo, `sed -i 's/^3$/three/' f; echo more >>g`)
	before := sh(t, repo, "git status --porcelain; find . -path ./.git -prune -o -type f -exec sha256sum {} + | sort")
	m := merge(t, repo, s, w)
	if len(m.Conflicts) > 0 || len(m.Changes) != 6 {
		t.Fatalf("merge: %+v, conflicts %q", m.Changes, m.Conflicts)
	}
	if err := m.Apply(t.Context(), "dev"); err != nil {
		t.Fatal(err)
	}
	got := sh(t, repo, `sed -n '3p;21p' f; cat g; ls d 2>/dev/null || echo no d; stat -c %a x; cat n/n; readlink link; od -c crlf | head -2; git status --porcelain`)
	want := "three\nend\ng\ndirty\nmore\nno d\n755\nn\ng\n0000000   a  \\r  \\n   b  \\r  \\n   c  \\r  \\n\n0000011\n M crlf\n D d/1\n M f\n M g\n M link\n M x\n?? n/\n"
	if got != want {
		t.Errorf("after apply:\n%s\nwant:\n%s", got, want)
	}
	r, err := Open(t.Context(), repo, "")
	if err != nil {
		t.Fatal(err)
	}
	sh(t, repo, "echo edit >>n/n")
	var edited *EditedError
	if _, err := Undo(r); !errors.As(err, &edited) {
		t.Errorf("Undo over an edit = %v, want EditedError", err)
	}
	sh(t, repo, "echo n >n/n")
	if n, err := Undo(r); err != nil || n != 6 {
		t.Errorf("Undo = %d, %v", n, err)
	}
	if after := sh(t, repo, "git status --porcelain; find . -path ./.git -prune -o -type f -exec sha256sum {} + | sort"); after != before {
		t.Errorf("before:\n%s\nafter undo:\n%s", before, after)
	}
	if _, err := Undo(r); !errors.Is(err, ErrNothingToUndo) {
		t.Errorf("a second Undo = %v", err)
	}
}

// What can't be merged, and what git does not know and is in the way, changes
// nothing.
func TestApplyConflict(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; echo 1 >f; echo 1 >g; git add .; git commit -qm one`)
	s, w := imported(t, repo, `echo guest >f; echo guest >g; echo n >new; echo n >ignored`)
	sh(t, repo, `echo host >f; echo mine >new; echo ignored >.git/info/exclude; echo mine >ignored`)
	before := sh(t, repo, "sha256sum *; ls .git")
	err := merge(t, repo, s, w).Apply(t.Context(), "dev")
	var conflict *ConflictError
	if !errors.As(err, &conflict) || strings.Join(conflict.Paths, " ") != "f ignored new" {
		t.Errorf("Apply = %v, want conflicts in f, ignored, new", err)
	}
	if after := sh(t, repo, "sha256sum *; ls .git"); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// An apply that was cut anywhere is taken back by the next command.
func TestApplyCut(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; for i in 1 2 3 4 5 6; do echo $i >f$i; done; mkdir d; echo d >d/d; git add .; git commit -qm one`)
	s, w := imported(t, repo, `for i in 1 2 3; do echo guest >f$i; done; rm f4; rm -r d; echo d >d; mkdir n; echo n >n/n`)
	state := "find . -path ./.git -prune -o -type f -exec sha256sum {} + | sort"
	before := sh(t, repo, state)
	for cut := range 8 {
		m := merge(t, repo, s, w)
		r := m.plan.Repo
		dir := filepath.Join(r.GitDir, journalDir)
		j := journal{Format: journalFormat, VM: "dev"}
		if err := m.prepare(t.Context(), dir, &j); err != nil {
			t.Fatal(err)
		}
		for n, p := range j.Paths[:min(cut, len(j.Paths))] {
			if err := m.plan.files.change(p, filepath.Join(dir, "new", strconv.Itoa(n)), p.NewMode); err != nil {
				t.Fatal(err)
			}
		}
		if was, err := Recover(r); !was || err != nil {
			t.Fatalf("Recover after %d changes = %v, %v", cut, was, err)
		}
		if after := sh(t, repo, state); after != before {
			t.Fatalf("after %d changes and Recover:\n%s\nwant:\n%s", cut, after, before)
		}
	}
}

// A guest that changed nothing, or nothing since the last time, says so.
func TestNoChange(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; echo 1 >f; git add f; git commit -qm one`)
	p := plan(t, repo, Options{})
	home, tree := send(t, p)
	s, err := NewStore(t.Context(), filepath.Join(t.TempDir(), "store"), p, Owner{Name: "dev", GuestPath: []byte("repo")})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if w := bringOut(t, s, home); w.Files != 0 || w.Commits != 0 || w.Tree != p.Tree {
			t.Errorf("Import = %+v, want no change", w)
		}
	}
	sh(t, tree, "echo 2 >f; git commit -qam two")
	first := bringOut(t, s, home)
	if second := bringOut(t, s, home); second.Tree != first.Tree || second.Commits != 1 || second.Files != 1 {
		t.Errorf("the second import says %+v, the first %+v", second, first)
	}
}

// An unborn branch has no commit to begin with; the guest's first one comes out.
func TestUnborn(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q -b trunk; echo 1 >f; git add f; echo u >u`)
	s, w := imported(t, repo, `test "$(git branch --show-current)" = trunk; git status --porcelain | grep -q '^A  f'; echo 2 >>f; git commit -qam first`)
	if w.Commits != 1 || w.Files != 1 {
		t.Errorf("Import = %+v", w)
	}
	r, err := Open(t.Context(), repo, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Fetch(t.Context(), r, w, FetchOptions{Scratch: t.TempDir(), Name: "dev"}); err != nil {
		t.Error(err)
	}
	if err := merge(t, repo, s, w).Apply(t.Context(), "dev"); err != nil {
		t.Error(err)
	}
	if got := sh(t, repo, "cat f"); got != "1\n2\n" {
		t.Errorf("f is %q", got)
	}
}

// A detached HEAD is one in the guest.
func TestDetached(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; echo 1 >f; git add f; git commit -qm one; git checkout -q --detach`)
	_, w := imported(t, repo, `test -z "$(git branch --show-current)"; echo 2 >>f; git commit -qam two`)
	if w.Commits != 1 || w.Branch != "" {
		t.Errorf("Import = %+v", w)
	}
}

// Linked worktrees, shallow and sparse clones, SHA-256, submodules' own directories,
// names of any bytes.
func TestKinds(t *testing.T) {
	user(t)
	for name, script := range map[string]string{
		"linked worktree": `git init -q main; cd main; echo 1 >f; git add f; git commit -qm one; git worktree add -q ../repo; cd ../repo; echo 2 >>f`,
		"shallow":         `git init -q main; cd main; echo 1 >f; git add f; git commit -qm one; echo 2 >>f; git commit -qam two; cd ..; git clone -q --depth 1 file://$PWD/main repo`,
		"sparse":          `git init -q main; cd main; mkdir a b; echo 1 >a/f; echo 2 >b/f; git add .; git commit -qm one; cd ..; git clone -q main repo; cd repo; git sparse-checkout set a`,
		"sparse index":    `git init -q main; cd main; mkdir a b; echo 1 >a/f; echo 2 >b/f; git add .; git commit -qm one; cd ..; git clone -q main repo; cd repo; git sparse-checkout set --sparse-index a`,
		"split index":     `git init -q repo; cd repo; echo 1 >f; echo 2 >g; git add .; git commit -qm one; git update-index --split-index; echo 3 >>g; git add g`,
		"sha256":          `git init -q --object-format=sha256 repo; cd repo; echo 1 >f; git add f; git commit -qm one; echo 2 >>f`,
		"submodule's own": `git init -q sub; cd sub; echo 1 >f; git add f; git commit -qm one; cd ..; git init -q main; cd main; git -c protocol.file.allow=always submodule -q add ../sub mod; ln -s $PWD/mod ../repo`,
		"partial":         `git init -q main; cd main; git config uploadpack.allowFilter true; echo 1 >f; git add f; git commit -qm one; echo 2 >f; git commit -qam two; cd ..; git clone -q --filter=blob:none file://$PWD/main repo`,
		"partial sparse":  `git init -q main; cd main; git config uploadpack.allowFilter true; mkdir a b; echo 1 >a/f; echo 2 >b/f; git add .; git commit -qm one; cd ..; git clone -q --filter=blob:none --sparse file://$PWD/main repo; cd repo; git sparse-checkout set a; echo x >>a/f`,
		"index version 4": `git init -q repo; cd repo; mkdir dir; echo 1 >dir/f; echo 2 >dir/g; git add .; git commit -qm one; git update-index --index-version 4`,
		"names":           `git init -q repo; cd repo; printf x >"$(printf 'a\nb')"; printf x >"$(printf 'q"\\\\t\t')"; printf x >"$(printf '\377\376')"; printf x >' '; printf x >-x; git add .; git commit -qm one; printf y >"$(printf '\377\376')"`,
		"conflict":        `git init -q repo; cd repo; echo 1 >f; git add f; git commit -qm one; git checkout -qb b; echo b >f; git commit -qam b; git checkout -q -; echo c >f; git commit -qam c; git merge -q b || true`,
		"alternates":      `git init -q main; cd main; echo 1 >f; git add f; git commit -qm one; cd ..; git clone -q --shared main repo`,
		"empty":           `git init -q repo`,
		"assumed":         `git init -q repo; cd repo; echo 1 >f; echo 1 >g; git add .; git commit -qm one; git update-index --assume-unchanged f; git update-index --skip-worktree g; echo 2 >f; echo 2 >g`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			sh(t, dir, script)
			repo := filepath.Join(dir, "repo")
			p := plan(t, repo, Options{})
			home, tree := send(t, p)
			const state = "git status --porcelain=v2 --branch | grep -v '^# branch.upstream' | grep -v '^# branch.ab'; git diff; git diff --cached; git ls-files -s; git ls-files -v"
			if got, want := sh(t, tree, state), sh(t, repo, state); got != want {
				t.Errorf("the guest's git says\n%s\nthe host's\n%s", got, want)
			}
			s, err := NewStore(t.Context(), filepath.Join(t.TempDir(), "store"), p, Owner{Name: "dev", GuestPath: []byte("repo")})
			if err != nil {
				t.Fatal(err)
			}
			if w := bringOut(t, s, home); w.Files != 0 {
				t.Errorf("before any change, the guest's work is %+v\n%s", w, sh(t, tree, "git status"))
			}
			sh(t, tree, "echo new >new")
			w := bringOut(t, s, home)
			if w.Files != 1 {
				t.Errorf("after one change, the guest's work is %+v", w)
			}
			if err := merge(t, repo, s, w).Apply(t.Context(), "dev"); err != nil {
				t.Error(err)
			}
			if got := sh(t, repo, "cat new"); got != "new\n" {
				t.Errorf("new is %q", got)
			}
		})
	}
}

// Ignored files go in only by name, are in no object that a fetch brings, and come
// out as files.
func TestPrivate(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; echo 1 >f; printf '.env\nbuild/\n*.log\n' >.gitignore; git add .; git commit -qm one; echo CANARY-SECRET >.env; mkdir -p build/deep; echo b >build/deep/b; echo l >x.log`)
	p := plan(t, repo, Options{Include: []string{".env", "build/deep/"}})
	if len(p.Private) != 2 || len(p.Files) != 4 {
		t.Fatalf("private %q, files %+v", p.Private, p.Files)
	}
	home, tree := send(t, p)
	s, err := NewStore(t.Context(), filepath.Join(t.TempDir(), "store"), p, Owner{Name: "dev", GuestPath: []byte("repo")})
	if err != nil {
		t.Fatal(err)
	}
	if w := bringOut(t, s, home); w.Files != 0 {
		t.Errorf("before any change: %+v", w)
	}
	sh(t, tree, "test -z \"$(git status --porcelain)\"; echo more >>.env; echo 2 >>f; git commit -qam two; rm build/deep/b; echo 3 >>f")
	w := bringOut(t, s, home)
	if w.Files != 3 {
		t.Errorf("Import = %+v, want 3 files", w)
	}
	r, err := Open(t.Context(), repo, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Fetch(t.Context(), r, w, FetchOptions{Scratch: t.TempDir(), Name: "dev", As: "new"}); err != nil {
		t.Fatal(err)
	}
	found := sh(t, repo, `for o in $(git cat-file --batch-all-objects --batch-check='%(objectname)'); do git cat-file -p $o | grep -a -l CANARY && echo $o; done; git ls-tree -r --name-only refs/banger/dev/work; git show refs/banger/dev/work:f`)
	if found != ".gitignore\nf\n1\n2\n3\n" {
		t.Errorf("the user's repository holds\n%s", found)
	}
	if err := merge(t, repo, s, w).Apply(t.Context(), "dev"); err != nil {
		t.Fatal(err)
	}
	if got := sh(t, repo, "cat .env f; ls build/deep 2>/dev/null || true"); got != "CANARY-SECRET\nmore\n1\n2\n3\n" {
		t.Errorf("after apply: %q", got)
	}
	sh(t, tree, "git add -f .env; git commit -qm leak")
	w = bringOut(t, s, home)
	if _, err := s.Fetch(t.Context(), r, w, FetchOptions{Scratch: t.TempDir(), Name: "dev"}); err != nil {
		t.Logf("a commit with another content of it: %v", err)
	}
}

// A commit's tree goes in without the user's edits, on a branch of its own.
func TestFrom(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; printf 'a\r\n' >crlf; echo 'crlf text eol=crlf' >.gitattributes; echo 1 >f; git add .; git commit -qm one; echo 2 >f; git commit -qam two; echo edit >f; echo u >u`)
	p := plan(t, repo, Options{From: "HEAD~1", NewBranch: "try/it"})
	home, tree := send(t, p)
	if got := sh(t, tree, "git branch --show-current; cat f; git status --porcelain; od -c crlf | head -1; ls"); got != "try/it\n1\n0000000   a  \\r  \\n\ncrlf\nf\n" {
		t.Errorf("the guest has\n%s", got)
	}
	s, err := NewStore(t.Context(), filepath.Join(t.TempDir(), "store"), p, Owner{Name: "dev", GuestPath: []byte("repo")})
	if err != nil {
		t.Fatal(err)
	}
	sh(t, tree, "echo n >n; git add n; git commit -qm n")
	if w := bringOut(t, s, home); w.Files != 1 || w.Commits != 1 || w.Branch != "refs/heads/try/it" {
		t.Errorf("Import = %+v", w)
	}
}

// A directory that is no repository goes in whole, with a base made for it.
func TestPlain(t *testing.T) {
	user(t)
	dir := t.TempDir()
	sh(t, dir, `mkdir -p a/b; echo 1 >a/b/f; echo '*' >.gitignore; ln -s a l; mkdir inner; cd inner; git init -q; echo i >i`)
	r, err := OpenPlain(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewPlan(t.Context(), r, Options{Scratch: t.TempDir(), All: true})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	home, tree := send(t, p)
	s, err := NewStore(t.Context(), filepath.Join(t.TempDir(), "store"), p, Owner{Name: "dev", GuestPath: []byte("repo")})
	if err != nil {
		t.Fatal(err)
	}
	sh(t, tree, "cat a/b/f .gitignore; readlink l; test ! -e inner/.git; cat inner/i; echo 2 >>a/b/f")
	w := bringOut(t, s, home)
	if w.Files != 1 {
		t.Errorf("Import = %+v, want one file", w)
	}
	var patch bytes.Buffer
	if err := s.Patch(t.Context(), &patch, w, PatchOptions{}); err != nil || !strings.Contains(patch.String(), "+2") {
		t.Errorf("Patch = %v:\n%s", err, &patch)
	}
	for _, no := range []string{"/", os.Getenv("HOME"), filepath.Dir(os.Getenv("HOME"))} {
		if _, err := OpenPlain(t.Context(), no); err == nil {
			t.Errorf("OpenPlain(%q) took it", no)
		}
	}
}
