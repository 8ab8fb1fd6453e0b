package workspace

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
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
