package workspace

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Some paths are applied, then the rest, then what the guest edited after that: nothing
// of it is a conflict, and each can be taken back.
func TestApplyPaths(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; seq 9 >a; seq 9 >b; mkdir d; echo 1 >d/1; echo 2 >d/2; echo f >f; git add .; git commit -qm one`)
	p := plan(t, repo, Options{})
	home, tree := send(t, p)
	s, err := NewStore(t.Context(), filepath.Join(t.TempDir(), "store"), p, Owner{Name: "dev", GuestPath: "repo"})
	if err != nil {
		t.Fatal(err)
	}
	sh(t, tree, `sed -i 5s/.*/guest/ a b; echo more >>d/1; rm d/2; echo n >d/n; rm f; mkdir f; echo x >f/x; echo '*' >'[ab]'`)
	r, err := Open(t.Context(), repo, "")
	if err != nil {
		t.Fatal(err)
	}
	files := "find . -path ./.git -prune -o -type f -print | sort | xargs -d '\\n' md5sum"
	apply := func(w Work, paths ...string) {
		t.Helper()
		if err := mergeWith(t, repo, s, w, MergeOptions{Paths: paths}).Apply(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	undo := func(want int) {
		t.Helper()
		if n, err := Undo(t.Context(), r); err != nil || n != want {
			t.Errorf("Undo = %d, %v, want %d", n, err, want)
		}
	}
	w := bringOut(t, s, home)
	before := sh(t, repo, files)
	apply(w, "a", "d")
	some := sh(t, repo, files)
	if got := sh(t, repo, "git status --porcelain"); got != " M a\n M d/1\n D d/2\n?? d/n\n" {
		t.Errorf("after a and d: %q", got)
	}
	undo(4)
	if got := sh(t, repo, files); got != before {
		t.Errorf("after undo:\n%s\nwant:\n%s", got, before)
	}
	apply(w, "d")
	apply(w, "a")
	apply(w, "a") // it is there: nothing to do
	if got := sh(t, repo, files); got != some {
		t.Errorf("after d, then a:\n%s\nwant:\n%s", got, some)
	}
	undo(1)
	apply(w, "a")
	sh(t, repo, `sed -i 1s/.*/mine/ a`)
	sh(t, tree, `sed -i 5s/.*/again/ a; sed -i 9s/.*/last/ b; echo again >>d/n`)
	w = bringOut(t, s, home)
	apply(w, "f") // a directory that was a file
	apply(w)
	if got := sh(t, repo, "sed -n '1p;5p' a; sed -n '5p;9p' b; cat d/1 d/n f/x; ls"); got != "mine\nagain\nguest\nlast\n1\nmore\nn\nagain\nx\n[ab]\na\nb\nd\nf\n" {
		t.Errorf("after all: %q", got)
	}
	undo(4)
	if got := sh(t, repo, "sed -n '1p;5p' a; sed -n '5p' b; cat d/n f/x; ls"); got != "mine\nguest\n5\nn\nx\na\nb\nd\nf\n" {
		t.Errorf("after its undo: %q", got)
	}
	apply(w, "[ab]") // as it is spelled
	if got := sh(t, repo, "sed -n 5p a; ls"); got != "guest\n[ab]\na\nb\nd\nf\n" {
		t.Errorf("after [ab]: %q", got)
	}
	var unchanged *NoChangeError
	err = mergeWith(t, repo, s, w, MergeOptions{Paths: []string{"b", "nowhere", "d/1/x"}}).Apply(t.Context())
	if !errors.As(err, &unchanged) || strings.Join(unchanged.Paths, " ") != "nowhere d/1/x" {
		t.Errorf("Apply = %v, want NoChangeError for nowhere and d/1/x", err)
	}
}

func TestPaths(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; mkdir -p d/e`)
	r, err := Open(t.Context(), repo, "")
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(repo, link); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ cwd, typed, want string }{
		{"/", link + "/d/x", "d/x"},
		{link + "/d", "x", "d/x"},
		{repo, "a/../b/", "b"},
		{repo, ".", "."},
		{repo + "/d", "e/x", "d/e/x"},
		{repo + "/d", "../x", "x"},
		{repo + "/d", ".", "d"},
		{repo + "/d", "-dash", "d/-dash"},
		{repo + "/d", repo + "/y", "y"},
		{"/", "d/x", "d/x"},
		{repo + "-other", "d/x", "d/x"},
		{repo, "../x", ""},
		{repo, "", ""},
		{repo, "/etc/passwd", ""},
		{"/", "../etc", ""},
	} {
		got, err := r.Paths(c.cwd, []string{c.typed})
		if c.want == "" && err == nil || c.want != "" && !slices.Equal(got, []string{c.want}) {
			t.Errorf("Paths(%q, %q) = %q, %v, want %q", c.cwd, c.typed, got, err, c.want)
		}
	}
}
