package workspace

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"

	guest "banger/internal/agent/workspace"
	"banger/internal/shtest"
)

// sh runs a script with the user's own git, in dir.
var sh = shtest.Run

// user makes a home for the user's git.
func user(t *testing.T) {
	t.Helper()
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("GORACE", "atexit_sleep_ms=0") // of filters, which are this program: else a second each
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(home, ".config"))
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1") // this machine's git may have filters of LFS's
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
	got, err := guest.Receive(t.Context(), &stream, home)
	if err != nil {
		t.Fatal(err)
	}
	if got.Files != len(p.Files) || got.Bytes < 0 {
		t.Errorf("the guest has %d files, the plan %d", got.Files, len(p.Files))
	}
	return home, string(got.Path)
}

// imported sends a repository into a guest, runs a script there, and brings its
// work out.
func imported(t *testing.T, repo, script string) (Store, Work) {
	t.Helper()
	p := plan(t, repo, Options{})
	home, tree := send(t, p)
	s, err := NewStore(t.Context(), filepath.Join(t.TempDir(), "store"), p, Owner{Name: "dev", GuestPath: "repo"})
	if err != nil {
		t.Fatal(err)
	}
	sh(t, tree, script)
	return s, bringOut(t, s, home)
}

func bringOut(t *testing.T, s Store, home string) Work {
	t.Helper()
	w, err := tryToBringOut(t.Context(), s, home)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// plainGit runs the user's git, which reads in.
func plainGit(t *testing.T, dir string, in []byte, args ...string) error {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir, cmd.Stdin = dir, bytes.NewReader(in)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}
