package workspace

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	guest "banger/internal/agent/workspace"
)

// What comes out of the guest, as a patch, makes the host's tree the guest's.
func TestOut(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; mkdir d; for i in 1 2 3; do echo $i >d/$i; done; echo g >g; ln -s g link; head -c 3000 /dev/urandom >bin; git add .; git commit -qm one; echo dirty >>g`)
	s, w := imported(t, repo, `echo more >>d/1; git commit -qam two; git mv d/2 moved; chmod +x d/3; echo new >new; rm link; head -c 3000 /dev/urandom >bin; ln -s nowhere l2; mkdir sub; cd sub; git init -q; echo n >n`)
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

// A patch's bytes depend on no setting of the user's git, of the repository's or of the
// environment.
func TestPatchSameBytes(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; seq 30 >f; seq 30 >old; printf 'a\tb \n' >'ta b'; echo 'f -diff' >.gitattributes; git add .; git commit -qm one`)
	s, w := imported(t, repo, `seq 2 31 >f; git mv old new; echo x >>new; printf 'a\r\n' >crlf; echo ü >ü; head -c 100 /dev/urandom >bin; echo trailing\  >>'ta b'`)
	patch := func() string {
		t.Helper()
		var out bytes.Buffer
		if err := s.Patch(t.Context(), &out, w, PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	want := patch()
	settings := map[string]string{
		"diff.external": "false", "diff.noprefix": "true", "diff.mnemonicPrefix": "true", "diff.renames": "copies", "diff.renameLimit": "1",
		"diff.context": "0", "diff.interHunkContext": "9", "diff.algorithm": "patience", "diff.orderFile": "/dev/null", "diff.wordRegex": ".",
		"diff.suppressBlankEmpty": "true", "diff.submodule": "log", "diff.colorMoved": "plain", "diff.relative": "true", "diff.indentHeuristic": "true", "diff.srcPrefix": "x/",
		"color.ui": "always", "color.diff": "always", "core.autocrlf": "true", "core.quotePath": "false", "core.abbrev": "5", "core.attributesFile": "attributes",
		"core.pager": "false", "core.whitespace": "cr-at-eol", "core.bigFileThreshold": "1", "i18n.logOutputEncoding": "latin1",
	}
	for key, value := range settings {
		t.Run(key, func(t *testing.T) {
			if value == "attributes" {
				value = filepath.Join(t.TempDir(), value)
				sh(t, repo, fmt.Sprintf("echo '* -diff -text binary' >%s", value))
			}
			for _, where := range []string{"--global", "--local"} {
				sh(t, repo, fmt.Sprintf("git config %s %s %s", where, key, value))
				if got := patch(); got != want {
					t.Errorf("with git config %s %s %s it is\n%s\nwant\n%s", where, key, value, got, want)
				}
				sh(t, repo, fmt.Sprintf("git config %s --unset %s", where, key))
			}
		})
	}
	for name, value := range map[string]string{
		"GIT_EXTERNAL_DIFF": "false", "GIT_DIFF_OPTS": "-u0", "GIT_PAGER": "false", "GIT_DIR": "/nowhere", "GIT_CONFIG_PARAMETERS": "'diff.noprefix=true'",
		"GIT_CONFIG_COUNT": "1", "GIT_INDEX_FILE": "/nowhere", "GIT_LITERAL_PATHSPECS": "1", "GIT_TRACE": "1", "LC_ALL": "de_DE.UTF-8", "TMPDIR": "/nowhere",
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("GIT_CONFIG_KEY_0", "diff.noprefix")
			t.Setenv("GIT_CONFIG_VALUE_0", "true")
			t.Setenv(name, value)
			if got := patch(); got != want {
				t.Errorf("with %s=%s it is\n%s\nwant\n%s", name, value, got, want)
			}
		})
	}
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
	sh(t, repo, "git branch dir/deep/b; git pack-refs --all")
	refs := sh(t, repo, "git for-each-ref")
	for as, name := range map[string]string{"main": "main", "main/x/y": "main", "dir": "dir/deep/b", "dir/deep": "dir/deep/b", "dir/deep/b": "dir/deep/b", "HEAD": ""} {
		var exists *BranchExistsError
		_, err := s.Fetch(t.Context(), r, w, FetchOptions{Scratch: t.TempDir(), Name: "dev", As: as})
		if errors.As(err, &exists) != (name != "") || err == nil || name != "" && exists.Name != name {
			t.Errorf("Fetch as %s = %v, want that there is %q", as, err, name)
		}
	}
	if after := sh(t, repo, "git for-each-ref"); after != refs {
		t.Errorf("before:\n%s\nafter:\n%s", refs, after)
	}
}

// A git directory that the guest moved is the one that went in.
func TestMovedGitDir(t *testing.T) {
	for name, script := range map[string]string{
		"separate": "git init -q --separate-git-dir=../moved .",
		"a link":   "mv .git ../moved; ln -s ../moved .git",
	} {
		t.Run(name, func(t *testing.T) {
			user(t)
			repo := t.TempDir()
			sh(t, repo, "git init -q; echo 1 >f; git add .; git commit -qm one")
			if _, w := imported(t, repo, script+"; echo 2 >f; git commit -qam two"); w.Anew || w.Commits != 1 || w.Files != 1 {
				t.Errorf("the work is %+v, want one commit", w)
			}
		})
	}
}

// A guest that changed nothing, or nothing since the last time, says so.
func TestNoChange(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; echo 1 >f; git add f; git commit -qm one`)
	p := plan(t, repo, Options{})
	home, tree := send(t, p)
	s, err := NewStore(t.Context(), filepath.Join(t.TempDir(), "store"), p, Owner{Name: "dev", GuestPath: "repo"})
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
	s, err := NewStore(t.Context(), filepath.Join(t.TempDir(), "store"), p, Owner{Name: "dev", GuestPath: "repo"})
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
	if err := merge(t, repo, s, w).Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := sh(t, repo, "cat .env f; ls build/deep 2>/dev/null || true"); got != "CANARY-SECRET\nmore\n1\n2\n3\n" {
		t.Errorf("after apply: %q", got)
	}
	for name, script := range map[string]string{
		"with another content":  "git add -f .env; git commit -qm leak",
		"and does no longer":    "git add -f .env; git commit -qm leak; git rm -q --cached .env; git commit -qm no; echo again >>.env",
		"under another name":    "cp .env public; git add public; git commit -qm leak",
		"on a branch, merged":   "git checkout -qb side; git add -f .env; git commit -qm leak; git rm -q --cached .env; git commit -qm no; git checkout -q main; git merge -q --no-ff -m m side; git branch -qD side",
		"made by a merge alone": "git checkout -qb side; git commit -q --allow-empty -m s; git checkout -q main; git commit -q --allow-empty -m n; git merge -q --no-ff --no-commit side; git add -f .env; git commit -qm leak",
	} {
		sh(t, tree, "git tag before; cp .env keep; "+script)
		w = bringOut(t, s, home)
		if _, err := s.Fetch(t.Context(), r, w, FetchOptions{Scratch: t.TempDir(), Name: "dev"}); err == nil || !strings.Contains(err.Error(), ".env") {
			t.Errorf("Fetch of a commit that holds .env %s = %v", name, err)
		}
		sh(t, tree, "git reset -q --hard before; git branch -qD side || true; git tag -d before; rm -f public; mv keep .env")
	}
}

// A base that is on no branch survives the guest's git gc.
func TestKept(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, "git init -q; echo 1 >f; git add .; git commit -qm one; echo 2 >f")
	p := plan(t, repo, Options{})
	home, tree := send(t, p)
	s, err := NewStore(t.Context(), filepath.Join(t.TempDir(), "store"), p, Owner{Name: "dev", GuestPath: "repo"})
	if err != nil {
		t.Fatal(err)
	}
	sh(t, tree, "git commit -qam two; echo 3 >f; git reflog expire --expire=now --all; git gc -q --prune=now; git repack -adq; git prune")
	if w := bringOut(t, s, home); w.Anew || w.Commits != 1 || w.Files != 1 {
		t.Errorf("Import = %+v", w)
	}
}

// A guest that removed its repository, or made another one, keeps its files.
func TestAnew(t *testing.T) {
	user(t)
	for name, script := range map[string]string{
		"removed": "rm -rf .git",
		"another": "rm -rf .git; git init -q; git add .; git commit -qm another",
		"broken":  "rm -rf .git/objects; mkdir .git/objects",
		"pruned":  "git checkout -q --orphan o; git rm -rqf --cached .; git commit -q --allow-empty -m o; git branch -D main 2>/dev/null || git branch -D master; rm .git/shallow; git reflog expire --expire=now --all; rm .git/objects/pack/*.keep; git gc -q --prune=now",
	} {
		t.Run(name, func(t *testing.T) {
			repo := t.TempDir()
			sh(t, repo, `git init -q; echo 1 >f; mkdir d; echo 2 >d/g; echo .env >.gitignore; git add .; git commit -qm one; echo S >.env`)
			p := plan(t, repo, Options{Include: []string{".env"}})
			home, tree := send(t, p)
			s, err := NewStore(t.Context(), filepath.Join(t.TempDir(), "store"), p, Owner{Name: "dev", GuestPath: "repo"})
			if err != nil {
				t.Fatal(err)
			}
			sh(t, tree, "echo edit >>f; "+script)
			w := bringOut(t, s, home)
			if w.Files != 1 || !w.Anew {
				t.Errorf("Import = %+v, want one file of a repository made anew", w)
			}
			if err := merge(t, repo, s, w).Apply(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := sh(t, repo, "cat f .env d/g"); got != "1\nedit\nS\n2\n" {
				t.Errorf("after apply: %q", got)
			}
			if left, _ := filepath.Glob(filepath.Join(home, "banger-report-*")); len(left) > 0 {
				t.Errorf("%q are left", left)
			}
		})
	}
}

// A copy that replaced an edited one in the guest, and that the host was cut before it
// recorded it, leaves the edits that were saved before as a saved work of their own.
func TestReplacedUnrecorded(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; echo 1 >f; git add f; git commit -qm one`)
	for name, between := range map[string]string{"the same base": ":", "another base": "echo 2 >>f", "removed": "rm -rf $home/repo/.git"} {
		t.Run(name, func(t *testing.T) {
			p := plan(t, repo, Options{})
			home, tree := send(t, p)
			dir := t.TempDir()
			s, err := NewStore(t.Context(), filepath.Join(dir, "1234-1"), p, Owner{Name: "dev", GuestPath: "repo"})
			if err != nil {
				t.Fatal(err)
			}
			sh(t, tree, "echo edit >>f; git commit -qam edit; echo new >new")
			edited := bringOut(t, s, home)
			sh(t, repo, "home="+home+"; "+between)
			if name != "removed" {
				var stream bytes.Buffer
				if err := plan(t, repo, Options{}).Send(t.Context(), &stream, SendOptions{Path: []byte("repo"), Force: true}); err != nil {
					t.Fatal(err)
				}
				if _, err := guest.Receive(t.Context(), &stream, home); err != nil {
					t.Fatal(err)
				}
			}
			sh(t, tree, "echo later >later")
			for range 2 { // the second has nothing to set aside
				if w := bringOut(t, s, home); w.Tree == edited.Tree {
					t.Fatalf("Import = %+v, want the tree of now", w)
				}
			}
			list, _, err := List(dir)
			if err != nil || len(list) != 2 {
				t.Fatalf("List = %+v, %v; want two works", list, err)
			}
			old := list[1]
			if old.Work.Tree != edited.Tree || old.Work.Commits != 1 {
				t.Errorf("what was set aside is %+v, want %+v", old.Work, edited)
			}
			var patch bytes.Buffer
			if err := old.Patch(t.Context(), &patch, old.Work, PatchOptions{}); err != nil || !strings.Contains(patch.String(), "+edit\n") || !strings.Contains(patch.String(), "+new\n") {
				t.Errorf("its patch is %s, %v", &patch, err)
			}
			// One that can't be read is in no other's way, and nobody takes another for it.
			if err := os.WriteFile(filepath.Join(list[0].Dir, workFile), []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
			rest, broken, err := List(dir)
			if err != nil || len(rest) != 1 || len(broken) != 1 || broken[0].ID != list[0].ID() {
				t.Errorf("List = %v, %v, %v; want one that can be read", rest, broken, err)
			}
			var unreadable *UnreadableError
			if _, err := Find(dir, old.Info.VM.Name); !errors.As(err, &unreadable) {
				t.Errorf("Find by the VM's name = %v, want that it can't be read", err)
			}
		})
	}
}

// A guest that has sent its pack, and takes its time to end, has sent its work.
func TestGuestLingers(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; echo 1 >f; git add f; git commit -qm one`)
	p := plan(t, repo, Options{})
	home, tree := send(t, p)
	s, err := NewStore(t.Context(), filepath.Join(t.TempDir(), "store"), p, Owner{Name: "dev", GuestPath: "repo"})
	if err != nil {
		t.Fatal(err)
	}
	sh(t, tree, "echo 2 >f")
	q, err := s.Question(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	in, out := io.Pipe()
	defer in.Close()
	defer time.AfterFunc(20*time.Second, func() { in.CloseWithError(errors.New("the work was not taken")) }).Stop()
	said := make(chan error, 1)
	go func() { said <- guest.Report(t.Context(), q, home, out) }() // ends with its last byte; the stream does not
	if w, err := s.Import(t.Context(), in, nil); err != nil || w.Files != 1 {
		t.Errorf("Import = %+v, %v", w, err)
	}
	if err := <-said; err != nil {
		t.Error(err)
	}
}

// What the guest has put away, and commits that are on another branch than its own, are
// changes: they come out, and what is fetched is the guest's.
func TestPutAway(t *testing.T) {
	user(t)
	for name, c := range map[string]struct {
		script           string
		commits, stashes int
	}{
		"branch":         {"git checkout -q -b other; echo 2 >>f; git commit -qam two; git checkout -q main", 1, 0},
		"stash":          {"echo 2 >>f; git stash -q", 0, 1},
		"many":           {"for i in $(seq 2 13); do echo $i >f; git stash -q; done", 0, 12},
		"untracked":      {"echo u >u; git stash -q -u", 0, 1},
		"without a log":  {"echo 2 >>f; git stash -q; rm .git/logs/refs/stash", 0, 1},
		"of a new base":  {"git checkout -q --orphan other; git commit -qm other; echo 2 >f; git stash -q; git checkout -q main", 1, 1},
		"popped":         {"echo 2 >>f; git stash -q; git stash pop -q; git checkout -q f", 0, 0},
		"a branch stash": {"git checkout -q -b stash; echo 2 >>f; git stash -q; git checkout -q main", 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			repo := t.TempDir()
			sh(t, repo, `git init -q; echo 1 >f; git add f; git commit -qm one`)
			p := plan(t, repo, Options{})
			home, tree := send(t, p)
			s, err := NewStore(t.Context(), filepath.Join(t.TempDir(), "store"), p, Owner{Name: "dev", GuestPath: "repo"})
			if err != nil {
				t.Fatal(err)
			}
			sh(t, tree, c.script)
			w := bringOut(t, s, home)
			if w.Commits != c.commits || w.Stashes != c.stashes || w.Changed() != (c.commits+c.stashes > 0) {
				t.Errorf("Import = %+v", w)
			}
			r, err := Open(t.Context(), repo, "")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Fetch(t.Context(), r, w, FetchOptions{Scratch: t.TempDir(), Name: "dev"}); err != nil {
				t.Fatal(err)
			}
			for n := range c.stashes {
				ref := fmt.Sprintf("refs/banger/dev/stash/%d", n)
				want := sh(t, tree, fmt.Sprintf("git rev-parse -q --verify stash@{%d} || git rev-parse refs/stash", n))
				if got := sh(t, repo, "git rev-parse "+ref); got != want {
					t.Errorf("%s is %s, the guest's entry %s", ref, got, want)
				}
			}
			// They go when they go in the guest, and a second report with the same sends no pack.
			q, err := s.Question(t.Context())
			if err != nil || len(q.Refs) < c.stashes {
				t.Errorf("Question = %+v, %v", q, err)
			}
			sh(t, tree, "git stash clear")
			if w := bringOut(t, s, home); w.Stashes != 0 || w.Commits != c.commits {
				t.Errorf("after git stash clear: %+v", w)
			}
		})
	}
}
