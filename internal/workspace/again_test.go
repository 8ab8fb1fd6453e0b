package workspace

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	guest "banger/internal/agent/workspace"
	"banger/internal/workspace/wire"
)

// hook is read as nothing, and does something then.
type hook func()

func (h hook) Read([]byte) (int, error) {
	h()
	return 0, io.EOF
}

// sendAgain sends plans over what is in a guest, of which stores have all. The first of
// them, which replaces the rest, is slow: meanwhile something happens.
func sendAgain(t *testing.T, home string, p *Plan, o SendOptions, meanwhile func(), stores ...Store) error {
	t.Helper()
	for _, s := range stores {
		w, err := s.Work()
		if err != nil && !errors.Is(err, ErrNoWork) {
			t.Fatal(err)
		}
		k, err := s.Known(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		o.Known = append(o.Known, k)
	}
	var stream bytes.Buffer
	if err := p.Send(t.Context(), &stream, o); err != nil {
		t.Fatal(err)
	}
	_, err := guest.Receive(t.Context(), slowly(stream.Bytes(), meanwhile), home)
	return err
}

// slowly is a tar stream at whose end something happens.
func slowly(stream []byte, meanwhile func()) io.Reader {
	at := len(stream) - 1024 // the blocks that end it
	return io.MultiReader(bytes.NewReader(stream[:at]), hook(meanwhile), bytes.NewReader(stream[at:]))
}

// What is edited in the guest while a copy goes in over it stays, and is not lost: the
// copy is refused, with --force too. What the host has all of is replaced.
func TestEditedMeanwhile(t *testing.T) {
	user(t)
	for name, c := range map[string]struct {
		before, meanwhile string // scripts in the guest's tree
		err, forced       string // "" is none
	}{
		"nothing":                {":", ":", "", ""},
		"ignored":                {":", "echo 1 >x.o", "", ""},
		"touched":                {":", "touch f", "", ""},
		"status":                 {":", "git status; git gc -q", "", ""},
		"edited before":          {"echo 2 >f; git commit -qam two; echo new >new", ":", "", ""},
		"detached before":        {"git checkout -q --detach; echo 2 >f; git commit -qam two", ":", "", ""},
		"a file":                 {":", "echo 2 >f", "edited", "edited"},
		"a file, again":          {"echo 2 >f", "echo 3 >f", "edited", "edited"},
		"a new file":             {":", "echo 2 >new", "edited", "edited"},
		"a file goes":            {":", "rm f", "edited", "edited"},
		"a mode":                 {":", "chmod +x f", "edited", "edited"},
		"a commit":               {":", "git commit -q --allow-empty -m two", "edited", "edited"},
		"a commit of edits":      {"echo 2 >f", "git commit -qam two", "edited", "edited"},
		"a branch":               {":", "git branch other", "edited", "edited"},
		"a branch goes":          {"git branch other", "git branch -D other", "edited", "edited"},
		"a detached commit":      {"git checkout -q --detach", "git commit -q --allow-empty -m two", "edited", "edited"},
		"the repository":         {":", "rm -rf .git", "another repository", ""},
		"the repository, edited": {":", "rm -rf .git; echo 2 >f", "edited", "edited"},
		"another repository":     {":", "rm -rf .git; git init -q; git add .; git commit -qm mine", "edited", "edited"},
		"none before":            {"rm -rf .git", ":", "another repository", ""},
		"none before, edited":    {"rm -rf .git", "echo 2 >f", "edited", "edited"},
		"gone":                   {":", "rm -rf ../repo", "no directory", ""},
		"moved":                  {":", "mv ../repo ../other", "no directory", ""},
		"empty":                  {":", "rm -rf ./* .git .gitignore", "edited", "edited"},
		"a file in its place":    {":", "rm -rf ../repo; echo 1 >../repo", "no directory", ""},
		"a link in its place":    {":", "mv ../repo ../other; ln -s other ../repo", "", ""},
		"a link, edited":         {":", "mv ../repo ../other; ln -s other ../repo; echo 2 >f", "edited", "edited"},
		"a repository inside":    {"git init -q in; cd in; echo 1 >i; git add i; git commit -qm i", ":", "", ""},
		"a work tree inside":     {"git worktree add -q in; echo i >in/i", ":", "", ""},
		"in a work tree inside":  {"git worktree add -q in", "echo i >in/i", "edited", "edited"},
	} {
		for _, force := range []bool{false, true} {
			if force && c.forced == c.err && name != "a file" {
				continue
			}
			t.Run(name+map[bool]string{true: ", forced"}[force], func(t *testing.T) {
				repo := t.TempDir()
				sh(t, repo, `git init -q; echo 1 >f; mkdir d; echo 1 >d/g; echo '*.o' >.gitignore; git add .; git commit -qm one`)
				p := plan(t, repo, Options{})
				home, tree := send(t, p)
				s, err := NewStore(t.Context(), filepath.Join(t.TempDir(), "store"), p, Owner{Name: "dev", GuestPath: "repo"})
				if err != nil {
					t.Fatal(err)
				}
				sh(t, tree, c.before)
				bringOut(t, s, home)
				sh(t, repo, "echo host >h; git add h")
				const state = `find . -mindepth 1 -name ".repo.banger-*" -prune -o -name .git -prune -o -printf '%p %y %m %s\n' | sort; cd repo && git for-each-ref || true`
				was := ""
				err = sendAgain(t, home, plan(t, repo, Options{}), SendOptions{Path: []byte("repo"), Force: force}, func() {
					sh(t, tree, c.meanwhile)
					was = sh(t, home, state)
				}, s)
				want := c.err
				if force {
					want = c.forced
				}
				if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
					t.Fatalf("Receive = %v, want %q", err, want)
				}
				if want == "" {
					sh(t, tree, "test -f h; test $(git status --porcelain | wc -l) = 1")
				} else if is := sh(t, home, state); is != was {
					t.Errorf("after %v the guest has\n%s\nand not\n%s", err, is, was)
				}
				if left := sh(t, home, "ls -d .*banger* banger* 2>/dev/null || true"); left != "" {
					t.Errorf("beside it %s is left", left)
				}
			})
		}
	}
}

// The same for a submodule, which is a workspace of its own below the place; what lies
// beside workspaces is nobody's to replace.
func TestEditedMeanwhileBelow(t *testing.T) {
	user(t)
	dir := t.TempDir()
	sh(t, dir, withSubmodules)
	for _, c := range []struct{ meanwhile, want string }{
		{":", ""},
		{"echo 2 >lib/inner/f", "repo/lib/inner was edited"},
		{"cd lib; git commit -q --allow-empty -m two", "was edited"},
		{"cd lib; git submodule -q absorbgitdirs", ""},
		{"rm -rf lib/.git", "repo/lib"},
		{"mv lib ..", "repo was edited"},
		{"echo 2 >f", "repo was edited"},
	} {
		home, stores := submodules(t, filepath.Join(dir, "main"))
		for _, s := range stores {
			bringOut(t, s, home)
		}
		p := plan(t, filepath.Join(dir, "main"), Options{All: true, Submodules: TakeSubmodules})
		if err := sendAgain(t, home, p, SendOptions{Path: []byte("repo/lib")}, func() {}, stores...); err == nil || !strings.Contains(err.Error(), "not in") {
			t.Errorf("what is above the place is named: %v", err)
		}
		if err := sendAgain(t, home, p, SendOptions{Path: []byte(".")}, func() {}, stores...); err == nil || !strings.Contains(err.Error(), "is there already") {
			t.Errorf("what is beside workspaces is replaced: %v", err)
		}
		err := sendAgain(t, home, p, SendOptions{Path: []byte("repo")}, func() { sh(t, filepath.Join(home, "repo"), c.meanwhile) }, stores...)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: Receive = %v, want %q", c.meanwhile, err, c.want)
		}
	}
}

// What arrived is known without a save; a copy that is given up while the guest looks puts
// back what was there.
func TestAgainAtOnce(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; echo 1 >f; git add .; git commit -qm one; echo 2 >f; echo 1 >new; git add new`)
	p := plan(t, repo, Options{})
	home, tree := send(t, p)
	o := SendOptions{Path: []byte("repo"), Known: []wire.Known{p.Known([]byte("repo"))}}
	if err := sendAgain(t, home, p, o, func() {}); err != nil {
		t.Error(err)
	}
	if err := sendAgain(t, home, p, o, func() { sh(t, tree, "echo 3 >f") }); err == nil || !strings.Contains(err.Error(), "edited") {
		t.Errorf("Receive = %v", err)
	}
	sh(t, tree, "echo 2 >f")
	var stream bytes.Buffer
	if err := p.Send(t.Context(), &stream, o); err != nil {
		t.Fatal(err)
	}
	was := sh(t, home, "ls -Ai . repo")
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := guest.Receive(ctx, slowly(stream.Bytes(), cancel), home); !errors.Is(err, context.Canceled) {
		t.Errorf("Receive = %v", err)
	}
	if is := sh(t, home, "ls -Ai . repo"); is != was {
		t.Errorf("the guest has\n%s\nand not\n%s", is, was)
	}
}

// A directory that is gone in the guest is told from one that can't be saved.
func TestIsGone(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; echo 1 >f; git add .; git commit -qm one`)
	p := plan(t, repo, Options{})
	home, _ := send(t, p)
	s, err := NewStore(t.Context(), filepath.Join(t.TempDir(), "store"), p, Owner{Name: "dev", GuestPath: "repo"})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
		return guest.Run(ctx, args[1:], home, in, out)
	}
	for _, c := range []struct {
		script string
		gone   bool
	}{{":", false}, {"rm -rf repo/.git", false}, {"rm -r repo; echo 1 >repo", true}, {"rm repo", true}} {
		sh(t, home, c.script)
		if gone, err := s.IsGone(t.Context(), ask); err != nil || gone != c.gone {
			t.Errorf("%s: IsGone = %v, %v", c.script, gone, err)
		}
	}
}
