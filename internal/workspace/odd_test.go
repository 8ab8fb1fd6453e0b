package workspace

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
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
