package workspace

import (
	"errors"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func merge(t *testing.T, repo string, s Store, w Work) *Merge {
	t.Helper()
	r, err := Open(t.Context(), repo, "")
	if err != nil {
		t.Fatal(err)
	}
	m, err := NewMerge(t.Context(), r, s, w, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// An apply merges with what the user did meanwhile, touches no file that both
// changed, and can be taken back.
func TestApply(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; seq 20 >f; echo g >g; mkdir d; echo 1 >d/1; echo x >x; ln -s f link; printf 'a\r\nb\r\n' >crlf; echo 'crlf eol=crlf' >.gitattributes; git add .; git commit -qm one; echo dirty >>g`)
	s, w := imported(t, repo, `echo end >>f; git commit -qam two; git rm -qr d; chmod +x x; mkdir n; echo n >n/n; rm link; ln -s g link; printf 'c\r\n' >>crlf`)
	sh(t, repo, `sed -i 's/^3$/three/' f; echo more >>g`)
	before := sh(t, repo, "git status --porcelain; find . -path ./.git -prune -o -type f -exec sha256sum {} + | sort")
	m := merge(t, repo, s, w)
	if len(m.Conflicts) > 0 || len(m.Changes) != 6 {
		t.Fatalf("merge: %+v, conflicts %q", m.Changes, m.Conflicts)
	}
	if err := m.Apply(t.Context(), "dev"); err != nil {
		t.Fatal(err)
	}
	got := sh(t, repo, `sed -n '3p;21p' f; cat g; ls d 2>/dev/null || echo no d; stat -c %a x; cat n/n; readlink link; od -c crlf | head -2; git status --porcelain`)
	want := "three\nend\ng\ndirty\nmore\nno d\n755\nn\ng\n0000000   a  \\r  \\n   b  \\r  \\n   c  \\r  \\n\n0000011\n M crlf\n D d/1\n M f\n M g\n M link\n M x\n?? n/\n"
	if got != want {
		t.Errorf("after apply:\n%s\nwant:\n%s", got, want)
	}
	r, err := Open(t.Context(), repo, "")
	if err != nil {
		t.Fatal(err)
	}
	sh(t, repo, "echo edit >>n/n")
	var edited *EditedError
	if _, err := Undo(r); !errors.As(err, &edited) {
		t.Errorf("Undo over an edit = %v, want EditedError", err)
	}
	sh(t, repo, "echo n >n/n")
	if n, err := Undo(r); err != nil || n != 6 {
		t.Errorf("Undo = %d, %v", n, err)
	}
	if after := sh(t, repo, "git status --porcelain; find . -path ./.git -prune -o -type f -exec sha256sum {} + | sort"); after != before {
		t.Errorf("before:\n%s\nafter undo:\n%s", before, after)
	}
	if _, err := Undo(r); !errors.Is(err, ErrNothingToUndo) {
		t.Errorf("a second Undo = %v", err)
	}
}

// What can't be merged, and what git does not know and is in the way, changes
// nothing.
func TestApplyConflict(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; echo 1 >f; echo 1 >g; git add .; git commit -qm one`)
	s, w := imported(t, repo, `echo guest >f; echo guest >g; echo n >new; echo n >ignored`)
	sh(t, repo, `echo host >f; echo mine >new; echo ignored >.git/info/exclude; echo mine >ignored`)
	before := sh(t, repo, "sha256sum *; ls .git")
	err := merge(t, repo, s, w).Apply(t.Context(), "dev")
	var conflict *ConflictError
	if !errors.As(err, &conflict) || strings.Join(conflict.Paths, " ") != "f ignored new" {
		t.Errorf("Apply = %v, want conflicts in f, ignored, new", err)
	}
	if after := sh(t, repo, "sha256sum *; ls .git"); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// An apply that was cut anywhere is taken back by the next command.
func TestApplyCut(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; for i in 1 2 3 4 5 6; do echo $i >f$i; done; mkdir d; echo d >d/d; git add .; git commit -qm one`)
	s, w := imported(t, repo, `for i in 1 2 3; do echo guest >f$i; done; rm f4; rm -r d; echo d >d; mkdir n; echo n >n/n`)
	state := "find . -path ./.git -prune -o -type d -print -o -type f -exec sha256sum {} + | sort"
	before := sh(t, repo, state)
	for cut := range 8 {
		m := merge(t, repo, s, w)
		r := m.plan.Repo
		dir := filepath.Join(r.GitDir, journalDir)
		j := journal{Format: journalFormat, VM: "dev"}
		if err := m.prepare(t.Context(), dir, &j); err != nil {
			t.Fatal(err)
		}
		for n, p := range j.Paths[:min(cut, len(j.Paths))] {
			if err := m.plan.files.change(p, filepath.Join(dir, "new", strconv.Itoa(n)), p.NewMode); err != nil {
				t.Fatal(err)
			}
		}
		// It was writing the next file.
		next := min(cut, len(j.Paths)-1)
		if p := j.Paths[next]; p.NewMode != 0 {
			if err := m.plan.files.put(path.Join(path.Dir(string(p.Path)), tempName), filepath.Join(dir, "new", strconv.Itoa(next)), p.NewMode, tempName+".2"); err != nil {
				t.Fatal(err)
			}
		}
		if was, err := Recover(r); !was || err != nil {
			t.Fatalf("Recover after %d changes = %v, %v", cut, was, err)
		}
		if after := sh(t, repo, state); after != before {
			t.Fatalf("after %d changes and Recover:\n%s\nwant:\n%s", cut, after, before)
		}
	}
}

// A second apply brings what came after the first, though both changed the same
// lines, and the user changed others meanwhile.
func TestApplyTwice(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; seq 9 >f; git add .; git commit -qm one`)
	p := plan(t, repo, Options{})
	home, tree := send(t, p)
	s, err := NewStore(t.Context(), filepath.Join(t.TempDir(), "store-1"), p, Owner{Name: "dev", GuestPath: "repo"})
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"first", "second"} {
		sh(t, tree, "sed -i '5s/.*/"+line+"/' f; echo "+line+" >>new")
		if err := merge(t, repo, s, bringOut(t, s, home)).Apply(t.Context(), "dev"); err != nil {
			t.Fatalf("the %s apply: %v", line, err)
		}
		sh(t, repo, "sed -i '1s/$/ mine/' f")
	}
	if got := sh(t, repo, "sed -n '1p;5p' f; cat new"); got != "1 mine mine\nsecond\nfirst\nsecond\n" {
		t.Errorf("after both: %q", got)
	}
}

// A file comes where the user has nothing but empty directories, which git does not
// know.
func TestApplyOverEmptyDirectories(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; mkdir -p d/e; echo 1 >d/f; git add .; git commit -qm one`)
	s, w := imported(t, repo, `rm -r d; echo file >d`)
	if err := merge(t, repo, s, w).Apply(t.Context(), "dev"); err != nil {
		t.Fatal(err)
	}
	if got := sh(t, repo, "cat d"); got != "file\n" {
		t.Errorf("d is %q", got)
	}
}

// The scratch repository may be on another file system than the user's.
func TestApplyFromAnotherFileSystem(t *testing.T) {
	user(t)
	repo := t.TempDir()
	var here, there unix.Stat_t
	if unix.Stat(repo, &here) != nil || unix.Stat("/dev/shm", &there) != nil || here.Dev == there.Dev {
		t.Skip("/dev/shm is no file system beside that of the test's directory")
	}
	sh(t, repo, `git init -q; echo 1 >f; git add f; git commit -qm one`)
	s, w := imported(t, repo, "echo 2 >>f; echo n >n")
	r, err := Open(t.Context(), repo, "")
	if err != nil {
		t.Fatal(err)
	}
	scratch, err := os.MkdirTemp("/dev/shm", "banger-test-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(scratch)
	m, err := NewMerge(t.Context(), r, s, w, scratch)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := m.Apply(t.Context(), "dev"); err != nil {
		t.Fatal(err)
	}
	if got := sh(t, repo, "cat f n; ls .git/banger-undo"); got != "1\n2\nn\njournal.json\nnew\nold\n" {
		t.Errorf("after Apply: %q", got)
	}
}
