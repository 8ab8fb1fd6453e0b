package workspace

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	guest "banger/internal/agent/workspace"
	"banger/internal/workspace/wire"
)

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
	if err := guest.Report(t.Context(), wire.Question{Path: []byte("repo"), Base: p.Base, Hash: "sha1"}, home, &out); err != nil {
		t.Fatal(err)
	}
	line, pack, _ := bytes.Cut(out.Bytes(), []byte("\n"))
	t.Logf("%s and a pack of %d bytes", line, len(pack))
	if _, err := os.Stat(filepath.Join(tree, ".git")); err != nil {
		t.Error(err)
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
	if err := merge(t, repo, s, w).Apply(t.Context()); err != nil {
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
		"staged":          `git init -q repo; cd repo; mkdir d; echo 1 >f; echo 2 >d/g; git add .; git commit -qm one; echo 3 >d/h; git add .; echo 4 >d/h`,
		"staged, gone":    `git init -q repo; cd repo; mkdir d; echo 1 >f; echo 2 >d/g; git add .; git commit -qm one; echo 3 >d/h; git add .; rm d/h`,
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
			s, err := NewStore(t.Context(), filepath.Join(t.TempDir(), "store"), p, Owner{Name: "dev", GuestPath: "repo"})
			if err != nil {
				t.Fatal(err)
			}
			if w := bringOut(t, s, home); w.Files != 0 {
				t.Errorf("before any change, the guest's work is %+v\n%s", w, sh(t, tree, "git status"))
			}
			sh(t, tree, "git init -q; git fsck 2>&1; git gc -q --prune=now 2>&1; echo new >new")
			w := bringOut(t, s, home)
			if w.Files != 1 {
				t.Errorf("after one change, the guest's work is %+v", w)
			}
			if err := merge(t, repo, s, w).Apply(t.Context()); err != nil {
				t.Error(err)
			}
			if got := sh(t, repo, "cat new"); got != "new\n" {
				t.Errorf("new is %q", got)
			}
		})
	}
}

// A partial clone's missing object that only HEAD's tree names is a promised one.
func TestPartialRemoved(t *testing.T) {
	user(t)
	dir := t.TempDir()
	sh(t, dir, `git init -q main; cd main; git config uploadpack.allowFilter true; mkdir a b; echo 1 >a/f; echo 2 >b/f; git add .; git commit -qm one; cd ..
		git clone -q --filter=blob:none --sparse file://$PWD/main repo; cd repo; git sparse-checkout set a; git rm -q --cached --sparse b/f`)
	_, tree := send(t, plan(t, filepath.Join(dir, "repo"), Options{}))
	sh(t, tree, "git fsck 2>&1; git gc -q --prune=now 2>&1")
}

// An operation that the user has not ended stays; its files and its index go in.
func TestUnderWay(t *testing.T) {
	const begin = `git init -q; echo 1 >f; git add f; git commit -qm one; git checkout -qb b; echo b >f; git commit -qam b; git checkout -q main; echo c >f; git commit -qam c; `
	for want, script := range map[string]string{
		"":            "",
		"merge":       "git merge -q b || true",
		"rebase":      "git rebase -q b || true",
		"cherry-pick": "git cherry-pick b || true",
		"revert":      "git revert --no-edit HEAD~1 || true",
		"bisect":      "git bisect start",
	} {
		t.Run(want, func(t *testing.T) {
			user(t)
			repo := t.TempDir()
			sh(t, repo, begin+script)
			p := plan(t, repo, Options{})
			if p.UnderWay != want {
				t.Errorf("under way is %q, want %q", p.UnderWay, want)
			}
			_, tree := send(t, p)
			const state = "git status --porcelain; git diff; git ls-files -s"
			if got, want := sh(t, tree, state), sh(t, repo, state); got != want {
				t.Errorf("the guest's git says\n%s\nthe host's\n%s", got, want)
			}
		})
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
	s, err := NewStore(t.Context(), filepath.Join(t.TempDir(), "store"), p, Owner{Name: "dev", GuestPath: "repo"})
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
	s, err := NewStore(t.Context(), filepath.Join(t.TempDir(), "store"), p, Owner{Name: "dev", GuestPath: "repo"})
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
