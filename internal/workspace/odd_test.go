package workspace

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A name that git would take for a pattern is a name, in and out.
func TestNamesLikePatterns(t *testing.T) {
	user(t)
	for _, name := range []string{":x", ":(glob)y", ":!z", ":/w", ":", "*", "[a]", `a\b`} {
		t.Run(name, func(t *testing.T) {
			repo := t.TempDir()
			sh(t, repo, "git init -q; printf 'w\nign*\n' >.gitignore; git add .; git commit -qm one")
			write := func(dir, name string) {
				at := filepath.Join(dir, name)
				if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(at, []byte("new\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			write(repo, name)
			p := plan(t, repo, Options{IncludeUntracked: true})
			if ignored := strings.HasSuffix(name, "/w"); len(p.Files) != 2 && !ignored {
				t.Errorf("%d files go in, want 2", len(p.Files))
			}
			home, tree := send(t, p)
			s, err := NewStore(t.Context(), filepath.Join(t.TempDir(), "store"), p, Owner{Name: "dev", GuestPath: "repo"})
			if err != nil {
				t.Fatal(err)
			}
			write(tree, name+"2")
			write(tree, "d/"+name+"3")
			write(tree, name+"d/i")
			sh(t, filepath.Join(tree, name+"d"), "git init -q")
			if w := bringOut(t, s, home); w.Files != 3 || w.Ignored != 0 {
				t.Errorf("the work is %+v, want 3 files", w)
			}
		})
	}
}

// core.ignoreCase, of a repository that comes from another system, hides no file: names
// that differ in case are two here and in the guest.
func TestCaseOfNames(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, "git init -q; echo 1 >F; mkdir D; echo 1 >D/a; echo '*.O' >.gitignore; git add .; git commit -qm one; git config core.ignoreCase true")
	s, w := imported(t, repo, "mv F f; echo 2 >>f; mkdir d; echo 2 >d/a; mv D/a D/A; echo o >x.o")
	if w.Files != 5 || w.Ignored != 1 {
		t.Errorf("the work is %+v, want 5 files", w)
	}
	if err := merge(t, repo, s, w).Apply(t.Context()); err != nil {
		t.Error(err)
	}
	if got := sh(t, repo, "find . -name .git -prune -o -type f -print | sort | tr '\n' ' '; cat f"); got != "./.gitignore ./D/A ./d/a ./f 1\n2\n" {
		t.Errorf("there is %q", got)
	}
}

// A repository inside may say core.ignoreCase: its files whose names differ in case only come
// out all the same, and it ignores as it says.
func TestCaseOfNamesInside(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, "git init -q; echo 1 >f; git add .; git commit -qm one")
	_, w := imported(t, repo, "git init -q in; cd in; echo 1 >F; mkdir D; echo 1 >D/a; echo '*.O' >.gitignore; git add .; git commit -qm in; git config core.ignoreCase true; echo 2 >f; mkdir d; echo 2 >d/a; echo o >x.o")
	if w.Files != 5 {
		t.Errorf("the work is %+v, want 5 files", w)
	}
}

// A repository whose refs are in reftables goes in, comes out, and is committed to.
func TestReftable(t *testing.T) {
	user(t)
	repo := t.TempDir()
	if err := plainGit(t, repo, nil, "init", "-q", "--ref-format=reftable"); err != nil {
		t.Skip("the host's git makes no reftables: they need 2.45")
	}
	sh(t, repo, "echo 1 >f; echo 1 >g; git add .; git commit -qm one; git branch other; echo 2 >>g")
	s, w := imported(t, repo, "echo 3 >>f; git commit -qam guest; echo n >n")
	if w.Commits != 1 || w.Files != 2 {
		t.Errorf("the work is %+v, want a commit and 2 files", w)
	}
	r, err := Open(t.Context(), repo, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Fetch(t.Context(), r, w, FetchOptions{Scratch: t.TempDir(), Name: "dev"}); err != nil {
		t.Fatal(err)
	}
	if err := mergeWith(t, repo, s, w, MergeOptions{Commit: true}).Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := sh(t, repo, "cat f; git show HEAD:n; git rev-parse --show-ref-format; git for-each-ref --format='%(refname)' refs/banger/dev/heads; git fsck"); got != "1\n3\nn\nreftable\nrefs/banger/dev/heads/main\n" {
		t.Errorf("there is %q", got)
	}
	if _, err := Undo(t.Context(), r); err != nil {
		t.Error(err)
	}
}

// The files of a repository in the tree that no git can read come out all the same.
func TestBrokenNested(t *testing.T) {
	user(t)
	for name, script := range map[string]string{
		"a .git file of another place":  `echo 'gitdir: ../.git/modules/none' >.git`,
		"an empty .git":                 `mkdir .git`,
		"a config that is none":         `git init -q; echo '[x' >>.git/config`,
		"an extension that is unknown":  `git init -q; git config core.repositoryformatversion 1; git config extensions.nope true`,
		"an index that is none":         `git init -q; git add .; echo garbage >.git/index`,
		"a link to nowhere":             `ln -s /nowhere .git`,
		"one that ignores all":          `git init -q; git add i d/j; echo '*' >.gitignore`,
		"one that is fine below it too": `git init -q; git init -q d; echo '[x' >>.git/config`,
	} {
		for _, own := range []string{":", "rm -rf .git"} {
			t.Run(name+", "+own, func(t *testing.T) {
				repo := t.TempDir()
				sh(t, repo, "git init -q; echo 1 >f; echo '*.o' >.gitignore; git add .; git commit -qm one")
				_, w := imported(t, repo, own+"; mkdir -p n/d; cd n; echo 1 >i; echo 2 >d/j; echo o >x.o;"+script)
				if w.Files != 2 {
					t.Errorf("the work is %+v, want 2 files", w)
				}
			})
		}
	}
}

// A link in the place of a repository that git tracked counts, though git ignores its name.
func TestIgnoredInPlaceOfRepository(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, "git init -q; echo 1 >f; git add .; git commit -qm one")
	_, w := imported(t, repo, `git init -q d; echo 2 >d/g; git -C d add g; git -C d commit -qm two; git add d 2>/dev/null
		rm -rf d; ln -s f d; echo d >.gitignore`)
	if w.Files != 2 {
		t.Errorf("the work is %+v, want 2 files", w)
	}
}

// paths are the files that go in.
func paths(p *Plan) string {
	var names []string
	for _, f := range p.Files {
		names = append(names, string(f.Path))
	}
	return strings.Join(names, " ")
}

// A .gitignore that a sparse checkout left out counts, in and out.
func TestSparseIgnore(t *testing.T) {
	user(t)
	dir := t.TempDir()
	sh(t, dir, `git init -q main; cd main; mkdir a b; echo 1 >a/f; echo 2 >b/f; echo '*.sec' >b/.gitignore; git add .; git commit -qm one
		cd ..; git clone -q main repo; cd repo; git sparse-checkout set a; mkdir b; echo x >b/x.sec; echo new >b/new`)
	repo := filepath.Join(dir, "repo")
	if got := paths(plan(t, repo, Options{IncludeUntracked: true})); got != "a/f b/new" {
		t.Errorf("%s go in", got)
	}
	_, w := imported(t, repo, "mkdir b; echo >b/y.sec; echo >b/more")
	if w.Files != 1 || w.Ignored != 1 {
		t.Errorf("the work is %+v, want one file and one ignored", w)
	}
}

// What becomes of the repositories inside: one that git ignores does not count, and goes
// in where a pattern names its files; one that lies over tracked files is none to git.
func TestInnerRepositories(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; printf 'vendor/\n/mod\n' >.gitignore; mkdir d; echo 1 >d/f; git add .; git commit -qm one
		mkdir -p vendor/a mod new; echo 1 >vendor/x; (cd vendor/a; git init -q; echo 2 >y); (cd mod; git init -q; echo 3 >z); (cd new; git init -q; echo 4 >n); (cd d; git init -q; echo 5 >g)`)
	for _, c := range []struct {
		o         Options
		want      string
		untracked int
	}{
		{Options{}, ".gitignore d/f", 2},
		{Options{IncludeUntracked: true}, ".gitignore d/f d/g", 1},
		{Options{Include: []string{"vendor/"}}, ".gitignore d/f vendor/a/y vendor/x", 2},
		{Options{Include: []string{"/mod"}}, ".gitignore d/f mod/z", 2},
		{Options{Include: []string{"**/y"}}, ".gitignore d/f vendor/a/y", 2},
		{Options{Include: []string{"vendor/**", "!x"}}, ".gitignore d/f vendor/a/y", 2},
		{Options{All: true}, ".gitignore d/f d/g mod/z new/n vendor/a/y vendor/x", 0},
	} {
		p := plan(t, repo, c.o)
		if got := paths(p); got != c.want || p.Untracked != c.untracked {
			t.Errorf("with %q: %s, and %d left behind, want %s and %d", c.o.Include, got, p.Untracked, c.want, c.untracked)
		}
	}
}

// A directory that can't be read stops nothing that was not to go in.
func TestUnreadableDirectory(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; echo '/data' >.gitignore; echo .env >>.gitignore; git add .; git commit -qm one; echo S >.env; mkdir data other; echo 1 >data/f; echo 1 >other/f; chmod 0 data other`)
	t.Cleanup(func() { sh(t, repo, "chmod 700 data other") })
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	if os.Getuid() == 0 {
		none := make([]unix.CapUserData, 2)
		if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0]); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		o    Options
		want string // the files, or why not
	}{
		{Options{}, ".gitignore"},
		{Options{Include: []string{".env"}}, ".env .gitignore"},
		{Options{Include: []string{"/data"}}, "permission denied"},
		{Options{IncludeUntracked: true}, "permission denied"},
		{Options{All: true}, "permission denied"},
	} {
		c.o.Scratch = t.TempDir()
		r, err := Open(t.Context(), repo, "")
		if err != nil {
			t.Fatal(err)
		}
		p, err := NewPlan(t.Context(), r, c.o)
		if err != nil {
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("with %+v: %v, want %s", c.o, err, c.want)
			}
			continue
		}
		if got := paths(p); got != c.want || p.Untracked != 1 {
			t.Errorf("with %+v: %s, and %d left behind, want %s and 1", c.o, got, p.Untracked, c.want)
		}
		p.Close()
	}
}

// A file that is gone, or no file any more, when it is read has changed: the repository
// is read again.
func TestGoneWhileRead(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; echo 1 >f; git add .; git commit -qm one; mkdir d; mkfifo fifo`)
	p := plan(t, repo, Options{})
	for _, name := range []string{"gone", "d", "fifo", "f/gone"} {
		var changed *ChangedError
		for what, err := range map[string]error{"copyIn": p.copyIn(name), "copyPointer": p.copyPointer(name)} {
			if !errors.As(err, &changed) {
				t.Errorf("%s(%q) = %v, want a ChangedError", what, name, err)
			}
		}
	}
	w := untracked{Plan: p, changed: new([]string)}
	if err := w.takeIn("gone"); err != nil || len(*w.changed) > 0 {
		t.Errorf("takeIn = %v, and %q are to go in", err, *w.changed)
	}
	if err := w.dir(t.Context(), "gone"); err != nil {
		t.Errorf("dir = %v", err)
	}
}

// A file of the git directory that would fill the disk is not copied.
func TestIndexWithoutEnd(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, "git init -q; truncate -s 1T .git/index")
	r, err := Open(t.Context(), repo, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewPlan(t.Context(), r, Options{Scratch: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("NewPlan = %v", err)
	}
}

// A path that is as long as the system lets one be goes in and comes out, though below the
// repository's own path no system call takes it.
func TestLongPath(t *testing.T) {
	user(t)
	dir := t.TempDir()
	sh(t, dir, `git init -q repo; cd repo; d=$(printf %0200d 0); d2=$(printf %030d 0)
		for i in $(seq 20); do mkdir $d; cd $d; done; echo 1 >f$d2; cd `+dir+`/repo
		git add .; git commit -qm one
		for i in $(seq 20); do cd $d; done; echo 2 >f$d2; echo 3 >g$d2`)
	if err := goThrough(t, dir+"/repo"); err != nil {
		t.Errorf("a path of 4,051 bytes: %.200v", err)
	}
}
