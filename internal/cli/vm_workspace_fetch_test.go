package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	guestworkspace "banger/internal/agent/workspace"
	"banger/internal/shtest"
	"banger/internal/workspace"
)

// sh runs a script in dir.
var sh = shtest.Run

// savedSubmodules makes saved works of VM dev of a repository with a submodule lib, in
// both of which something was committed, and returns the repository.
func savedSubmodules(t *testing.T) (repo string) {
	t.Helper()
	home := t.TempDir()
	t.Setenv("HOME", home)
	sh(t, home, `git config --global user.name U; git config --global user.email u@example.org; git config --global protocol.file.allow always
		git init -q -b main lib; cd lib; echo 1 >f; git add f; git commit -qm one; cd ..
		git init -q -b main repo; cd repo; git submodule -q add ../lib lib; git commit -qm one`)
	repo = filepath.Join(home, "repo")
	dir, err := workDir()
	if err != nil {
		t.Fatal(err)
	}
	r, err := workspace.Open(t.Context(), repo, "")
	if err != nil {
		t.Fatal(err)
	}
	p, err := workspace.NewPlan(t.Context(), r, workspace.Options{Scratch: home, All: true, Submodules: workspace.TakeSubmodules})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	inGuest := t.TempDir()
	var stores []workspace.Store
	for n, m := range p.All() {
		var stream bytes.Buffer
		at := filepath.Join("repo", m.At)
		if err := m.Send(t.Context(), &stream, workspace.SendOptions{Path: []byte(at)}); err != nil {
			t.Fatal(err)
		}
		if _, err := guestworkspace.Receive(t.Context(), &stream, inGuest); err != nil {
			t.Fatal(err)
		}
		s, err := workspace.NewStore(t.Context(), filepath.Join(dir, fmt.Sprintf("0123-%d", n+1)), m, workspace.Owner{ID: "0123", Name: "dev", GuestPath: filepath.Join(inGuest, at)})
		if err != nil {
			t.Fatal(err)
		}
		stores = append(stores, s)
	}
	sh(t, filepath.Join(inGuest, "repo"), "for d in lib .; do ( cd $d; echo 2 >g; git add g; git commit -qm two ); done")
	for _, s := range stores {
		_, err := s.Save(t.Context(), func(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
			return guestworkspace.Run(ctx, args[1:], inGuest, in, out)
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
	}
	return repo
}

// If the work in a submodule can't be fetched, none is.
func TestFetchAllOrNone(t *testing.T) {
	newDaemon(t, answers{})
	repo := savedSubmodules(t)
	const state = "for d in . lib; do ( cd $d; git for-each-ref; git count-objects -v ); done"
	lib := filepath.Join(repo, "lib")
	for name, c := range map[string]struct{ before, after, want, hint string }{
		"branch":       {"git branch new", "git branch -D new", `in lib: there is a branch "new" already`, "choose another name"},
		"in the way":   {"git branch new/er", "git branch -D new/er", `in lib: there is a branch "new/er" already`, "choose another name"},
		"another one":  {"mv ../.git/modules/lib ../x; mv .git ../y; git init -q", "rm -rf .git; mv ../y .git; mv ../x ../.git/modules/lib", "has no commit", ""},
		"linked packs": {"mv ../.git/modules/lib/objects ../o; ln -s $PWD/../o ../.git/modules/lib/objects", "rm ../.git/modules/lib/objects; mv ../o ../.git/modules/lib/objects", "is no directory", ""},
	} {
		sh(t, lib, c.before)
		was := sh(t, repo, state)
		a, o := newApp(t)
		status := a.runLine(t, "vm", "workspace", "fetch", "dev", "--as", "new")
		if status != exitFailed || !strings.Contains(o.stderr(), c.want) || !strings.Contains(o.stderr(), c.hint) {
			t.Errorf("%s: status %d, stderr has %q, want %q", name, status, o.stderr(), c.want)
		}
		if is := sh(t, repo, state); is != was {
			t.Errorf("%s: the repositories have\n%s\nand not\n%s", name, is, was)
		}
		sh(t, lib, c.after)
	}
	a, o := newApp(t)
	if status := a.runLine(t, "vm", "workspace", "fetch", "dev", "--as", "new"); status != 0 {
		t.Errorf("status %d: %s", status, o.stderr())
	}
	sh(t, repo, "git rev-parse new; cd lib; git show new:g")
}
