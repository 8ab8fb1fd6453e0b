package workspace

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	guest "banger/internal/agent/workspace"
	"banger/internal/workspace/wire"
)

// asks answers as the guest whose home is home does.
func asks(home string) Ask {
	return func(ctx context.Context, _ []string, in io.Reader, out io.Writer) error {
		var q wire.Question
		if err := wire.ReadJSON(bufio.NewReader(in), &q); err != nil {
			return err
		}
		return guest.Report(ctx, q, home, out)
	}
}

// upTo is the room of a store that may take so many bytes.
func upTo(s Store, bytes int64) Room {
	return func() (int64, error) {
		used, err := s.UsedBytes()
		return bytes - used, err
	}
}

// contents are the files below dir, with times and content.
func contents(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		text := []byte{}
		if d.Type().IsRegular() {
			if text, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		fmt.Fprintf(&b, "%s %s %s %x\n", path, fi.Mode(), fi.ModTime(), text)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// given is a small repository in a guest, and its store.
func given(t *testing.T) (s Store, home, tree string) {
	t.Helper()
	user(t)
	repo := t.TempDir()
	sh(t, repo, "git init -q; echo 1 >f; git add f; git commit -qm one")
	p := plan(t, repo, Options{})
	home, tree = send(t, p)
	s, err := NewStore(t.Context(), filepath.Join(t.TempDir(), "id-1"), p, Owner{Name: "dev", GuestPath: "repo"})
	if err != nil {
		t.Fatal(err)
	}
	return s, home, tree
}

// A work over its bound is refused while it comes in, and leaves the store as it was;
// one that has its room is taken; nothing new needs no room. A drop gives the room back.
func TestRoom(t *testing.T) {
	s, home, tree := given(t)
	empty, err := s.UsedBytes()
	if err != nil {
		t.Fatal(err)
	}
	sh(t, tree, "echo small >small")
	first, err := s.Save(t.Context(), asks(home), upTo(s, empty+1<<20))
	if err != nil {
		t.Fatal(err)
	}
	before := contents(t, s.repo())
	sh(t, tree, "head -c 3000000 /dev/urandom >large")
	took := &counted{}
	_, err = s.Save(t.Context(), func(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
		return asks(home)(ctx, args, in, io.MultiWriter(took, out))
	}, upTo(s, empty+1<<20))
	if !errors.Is(err, ErrNoRoom) {
		t.Fatalf("a work of 3 MB with room for 1 MiB: %v", err)
	}
	if took.n > 2<<20 {
		t.Errorf("%d bytes of it were read", took.n) // the stream's last buffer included
	}
	if now := contents(t, s.repo()); now != before {
		t.Errorf("the store changed:\n%s\nwas\n%s", now, before)
	}
	if left, _ := filepath.Glob(filepath.Join(s.Dir, incoming+"*")); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	if w, err := s.Work(); err != nil || w.Tree != first.Tree {
		t.Errorf("the work is %+v, %v; want %s", w, err, first.Tree)
	}
	sh(t, tree, "rm large")
	if _, err := s.Save(t.Context(), asks(home), upTo(s, 0)); err != nil {
		t.Errorf("nothing new, and no room: %v", err)
	}
	sh(t, tree, "head -c 3000000 /dev/urandom >large; git checkout -q -b topic; git add .; git commit -qm large")
	w, err := s.Save(t.Context(), asks(home), upTo(s, empty+16<<20))
	if err != nil || w.Files != 2 {
		t.Fatalf("with room: %+v, %v", w, err)
	}

	// It comes once more with the next save, and is kept once.
	once, err := s.UsedBytes()
	if err != nil {
		t.Fatal(err)
	}
	sh(t, tree, "echo more >more")
	if w, err = s.Save(t.Context(), asks(home), upTo(s, once+1<<20)); err != nil {
		t.Fatal(err)
	}
	if used, err := s.UsedBytes(); err != nil || used > once+256<<10 {
		t.Errorf("after a small change it takes %d bytes, %v; before %d", used, err, once)
	}
	for _, tree := range []string{first.Tree, w.Tree} { // what no ref reaches, too
		if err := s.Patch(t.Context(), io.Discard, Work{Tree: tree}, PatchOptions{}); err != nil {
			t.Errorf("the work %s: %v", tree, err)
		}
	}

	saved, err := Find(filepath.Dir(s.Dir), "dev")
	if err != nil {
		t.Fatal(err)
	}
	if err := saved.Drop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if used, err := s.UsedBytes(); err != nil || used > empty+64<<10 {
		t.Errorf("after the drop it takes %d bytes, %v; it began with %d", used, err, empty)
	}
	again, err := s.Save(t.Context(), asks(home), upTo(s, empty+16<<20))
	if err != nil || again.Tree != w.Tree || again.Head != w.Head {
		t.Errorf("saved again: %+v, %v; want %+v", again, err, w)
	}
}

type counted struct{ n int }

func (c *counted) Write(p []byte) (int, error) { c.n += len(p); return len(p), nil }

// What comes out of a store writes nothing into it. A store beside it takes new work, and
// leaves it as it is.
func TestStoreIsRead(t *testing.T) {
	s, home, tree := given(t)
	sh(t, tree, "echo new >new; chmod +x new; git add new; git commit -qm new; echo x >>new")
	w := bringOut(t, s, home)
	before := contents(t, s.Dir)
	var patch bytes.Buffer
	for _, o := range []PatchOptions{{}, {Base: "HEAD"}, {Base: w.Head}, {Form: FormStat}, {Form: FormNames}, {Paths: []string{"new"}}} {
		if err := s.Patch(t.Context(), &patch, w, o); err != nil || patch.Len() == 0 {
			t.Errorf("Patch(%+v): %d bytes, %v", o, patch.Len(), err)
		}
	}
	if err := s.Commits(t.Context(), &patch, w); err != nil {
		t.Error(err)
	}
	if risky, err := s.Risks(t.Context(), w); err != nil || len(risky) != 1 {
		t.Errorf("Risks = %v, %v", risky, err)
	}
	if list, _, err := List(filepath.Dir(s.Dir)); err != nil || len(list) != 1 {
		t.Errorf("List = %v, %v", list, err)
	}
	sh(t, tree, "echo late >late")
	b, err := s.Beside(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	later, err := b.Save(t.Context(), asks(home), upTo(b, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	patch.Reset()
	if err := b.Patch(t.Context(), &patch, later, PatchOptions{}); err != nil || !strings.Contains(patch.String(), "+late") || !strings.Contains(patch.String(), "+new") {
		t.Errorf("the patch from beside: %v\n%s", err, &patch)
	}
	if now := contents(t, s.Dir); now != before {
		t.Errorf("the store changed:\n%s\nwas\n%s", now, before)
	}
}

// A store beside another one takes the settings that went in as that one does, though git
// would not clone them.
func TestBesideOwnSettings(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; printf 'f %03000d\n' 0 >.gitattributes; echo 1 >f; git add .; git commit -qm one; printf 'g %03000d\n' 0 >.gitattributes`)
	p := plan(t, repo, Options{})
	home, tree := send(t, p)
	s, err := NewStore(t.Context(), filepath.Join(t.TempDir(), "store"), p, Owner{Name: "dev", GuestPath: "repo"})
	if err != nil {
		t.Fatal(err)
	}
	sh(t, tree, "echo 2 >f; git add .; git commit -qm two; mkdir d; cp .gitattributes d")
	b, err := s.Beside(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range []Store{b, s} {
		if w, err := to.Save(t.Context(), asks(home), nil); err != nil || w.Files != 2 {
			t.Errorf("Save = %+v, %v", w, err)
		}
	}
}

// A work that was set aside shares what went in, which counts once.
func TestAsideCountsOnce(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; head -c 2000000 /dev/urandom >f; git add .; git commit -qm one`)
	dir := t.TempDir()
	p := plan(t, repo, Options{})
	home, tree := send(t, p)
	s, err := NewStore(t.Context(), filepath.Join(dir, "0123-1"), p, Owner{Name: "dev", GuestPath: "repo"})
	if err != nil {
		t.Fatal(err)
	}
	sh(t, tree, "echo n >n")
	bringOut(t, s, home)
	if err := s.setAside("another copy"); err != nil {
		t.Fatal(err)
	}
	own, all, err := UsedBytes(dir, "0123")
	if list, _, lerr := List(dir); len(list) != 2 || lerr != nil || err != nil || own != all || own > 3_000_000 {
		t.Errorf("of %d works %d bytes are used, and %d in all; %v", len(list), own, all, errors.Join(lerr, err))
	}
}
