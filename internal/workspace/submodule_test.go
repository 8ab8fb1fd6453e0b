package workspace

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	guest "banger/internal/agent/workspace"
)

// A repository with submodules, one of them with one of its own, one not checked out,
// one at another commit than the repository says, with edits.
const withSubmodules = `git config --global protocol.file.allow always
	for m in deep lib other; do git init -q $m; ( cd $m; echo 1 >f; git add f; git commit -qm one ); done
	( cd lib; git submodule -q add ../deep inner; git commit -qm two )
	git init -q main; cd main; echo 1 >f; echo '*.o' >.gitignore; git add .; git submodule -q add ../lib lib; git submodule -q add ../other away; git submodule -q update --init --recursive; git commit -qm one
	git submodule -q deinit -f away
	( cd lib; echo 2 >>f; git commit -qam ahead; echo 3 >>f; echo o >x.o )`

// submodules sends the repository in dir into a guest, whole.
func submodules(t *testing.T, dir string) (home string, stores []Store) {
	t.Helper()
	p := plan(t, dir, Options{All: true, Submodules: TakeSubmodules})
	home = t.TempDir()
	for _, m := range p.All() {
		var stream bytes.Buffer
		at := filepath.Join("repo", m.At)
		if err := m.Send(t.Context(), &stream, SendOptions{Path: []byte(at)}); err != nil {
			t.Fatal(err)
		}
		if _, err := guest.Receive(t.Context(), &stream, home); err != nil {
			t.Fatal(err)
		}
		s, err := NewStore(t.Context(), filepath.Join(t.TempDir(), "store"), m, Owner{Name: "dev", GuestPath: at})
		if err != nil {
			t.Fatal(err)
		}
		stores = append(stores, s)
	}
	return home, stores
}

// Submodules are workspaces of their own: the guest's git says of each what the host's
// says, and what changed in one comes out of it, and of no other.
func TestSubmodules(t *testing.T) {
	user(t)
	dir := t.TempDir()
	sh(t, dir, withSubmodules)
	repo := filepath.Join(dir, "main")
	home, stores := submodules(t, repo)
	tree := filepath.Join(home, "repo")
	if len(stores) != 3 {
		t.Fatalf("%d workspaces, want 3", len(stores))
	}
	const state = "for d in . lib lib/inner; do ( cd $d; pwd | sed 's|.*/||'; git status --porcelain; git log -1 --format=%H; git ls-files -s; git diff ); done; ls -A away"
	if got, want := sh(t, tree, state), strings.Replace(sh(t, repo, state), "main\n", "repo\n", 1); got != want {
		t.Errorf("the guest's git says\n%s\nthe host's\n%s", got, want)
	}
	for n, s := range stores {
		if w := bringOut(t, s, home); w.Files != 0 || w.Commits != 0 || len(w.Nested) != 0 || w.Anew {
			t.Errorf("before any change, workspace %d has %+v", n, w)
		}
	}
	sh(t, tree, `echo root >>f; cd lib; echo lib >>f; git commit -qam lib; cd inner; echo inner >>f; echo new >n`)
	var works []Work
	for n, s := range stores {
		w := bringOut(t, s, home)
		if want := []int{2, 1, 2}[n]; w.Files != want { // a submodule's new commit is a change
			t.Errorf("workspace %d has %+v, want %d files", n, w, want)
		}
		works = append(works, w)
	}
	for n, at := range []string{"", "lib", "lib/inner"} {
		if err := merge(t, filepath.Join(repo, at), stores[n], works[n]).Apply(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := sh(t, repo, "cat f lib/f lib/inner/f lib/inner/n lib/x.o"); got != "1\nroot\n1\n2\n3\nlib\n1\ninner\nnew\no\n" {
		t.Errorf("after apply the host has %q", got)
	}
	if got := sh(t, repo, "git -C lib log -1 --format=%s; git status --porcelain -- lib"); got != "ahead\n M lib\n" {
		t.Errorf("apply moved the submodule: %q", got)
	}
}

// What a guest made of a submodule: removed, without its repository, checked out where
// it was not, another repository in its place.
func TestSubmoduleGone(t *testing.T) {
	user(t)
	dir := t.TempDir()
	sh(t, dir, withSubmodules)
	for name, c := range map[string]struct {
		script string
		want   string // the names that changed in the outermost
	}{
		"removed":             {"rm -rf lib", "lib"},
		"by git":              {"git rm -qf --cached lib; git config -f .gitmodules --remove-section submodule.lib; rm -rf lib", ".gitmodules lib"},
		"repository gone":     {"rm -rf lib/.git", ""},
		"checked out":         {"git clone -q " + "../other-src away; rm -rf ../other-src", "away away/f"},
		"files where it was":  {"echo x >away/x", "away away/x"},
		"a file in its place": {"rmdir away; echo x >away", "away"},
	} {
		t.Run(name, func(t *testing.T) {
			home, stores := submodules(t, filepath.Join(dir, "main"))
			tree := filepath.Join(home, "repo")
			sh(t, home, "cp -r "+filepath.Join(dir, "other")+" other-src")
			sh(t, tree, c.script)
			w := bringOut(t, stores[0], home)
			var names bytes.Buffer
			if err := stores[0].Patch(t.Context(), &names, w, PatchOptions{Form: FormNames}); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(strings.Fields(names.String()), " "); got != c.want {
				t.Errorf("%q changed, want %q; %+v", got, c.want, w)
			}
		})
	}
}

// A commit is one of the repository that it is in: what the outer one says of its
// submodules stays.
func TestSubmodulesCommit(t *testing.T) {
	user(t)
	dir := t.TempDir()
	sh(t, dir, withSubmodules)
	repo := filepath.Join(dir, "main")
	home, stores := submodules(t, repo)
	sh(t, filepath.Join(home, "repo"), `echo root >>f; git commit -qam root; cd lib/inner; echo inner >>f; git commit -qam inner`)
	before := state(t, repo) + state(t, filepath.Join(repo, "lib/inner"))
	for n, at := range map[int]string{0: "", 2: "lib/inner"} {
		m := mergeWith(t, filepath.Join(repo, at), stores[n], bringOut(t, stores[n], home), MergeOptions{Commit: true})
		if err := m.Apply(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	got := sh(t, repo, `git show --name-only --format=%s; git diff HEAD^ HEAD -- lib; git status --porcelain -- f lib away .gitmodules
		cd lib/inner; git show --name-only --format=%s; git status --porcelain; git symbolic-ref -q HEAD || echo detached`)
	if want := "Work of VM dev\n\nf\n M lib\nWork of VM dev\n\nf\ndetached\n"; got != want {
		t.Errorf("after the commits:\n%s\nwant:\n%s", got, want)
	}
	for _, at := range []string{"", "lib/inner"} {
		r, err := Open(t.Context(), filepath.Join(repo, at), "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Undo(t.Context(), r); err != nil {
			t.Error(err)
		}
	}
	if after := state(t, repo) + state(t, filepath.Join(repo, "lib/inner")); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// A conflict about a submodule, which is checked out or not, stops neither way.
func TestSubmoduleConflict(t *testing.T) {
	for name, script := range map[string]string{"checked out": ":", "not": "git submodule -q deinit -f mod"} {
		t.Run(name, func(t *testing.T) {
			user(t)
			dir := t.TempDir()
			sh(t, dir, `git config --global protocol.file.allow always
				git init -q sub; cd sub; echo 1 >f; git add f; git commit -qm one; git checkout -qb b; echo 2 >f; git commit -qam two; git checkout -q main; echo 3 >f; git commit -qam three
				cd ..; git init -q main; cd main; git submodule -q add ../sub mod; git -C mod checkout -q main~1; git add .; git commit -qm one
				git checkout -qb b; git -C mod checkout -q origin/b; git commit -qam b; git checkout -q main; git -C mod checkout -q origin/main; git commit -qam c
				git merge -q b || true; test $(git ls-files -s mod | wc -l) = 3; `+script)
			repo := filepath.Join(dir, "main")
			home, stores := submodules(t, repo)
			if want := map[string]int{"checked out": 2, "not": 1}[name]; len(stores) != want {
				t.Fatalf("%d workspaces, want %d", len(stores), want)
			}
			for n, s := range stores {
				if w := bringOut(t, s, home); w.Files != 0 {
					t.Errorf("before any change, workspace %d has %+v", n, w)
				}
			}
			sh(t, filepath.Join(home, "repo"), "echo new >new")
			w := bringOut(t, stores[0], home)
			if w.Files != 1 {
				t.Errorf("the work is %+v, want 1 file", w)
			}
			if err := merge(t, repo, stores[0], w).Apply(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}
