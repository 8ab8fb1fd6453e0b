package workspace

import (
	"context"
	"errors"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func merge(t *testing.T, repo string, s Store, w Work) *Merge {
	t.Helper()
	return mergeWith(t, repo, s, w, MergeOptions{})
}

func mergeWith(t *testing.T, repo string, s Store, w Work, o MergeOptions) *Merge {
	t.Helper()
	o.Name, o.Scratch = "dev", t.TempDir()
	r, err := Open(t.Context(), repo, "")
	if err != nil {
		t.Fatal(err)
	}
	m, err := NewMerge(t.Context(), r, s, w, o)
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
	if err := m.Apply(t.Context()); err != nil {
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
	if _, err := Undo(t.Context(), r); !errors.As(err, &edited) {
		t.Errorf("Undo over an edit = %v, want EditedError", err)
	}
	sh(t, repo, "echo n >n/n")
	if n, err := Undo(t.Context(), r); err != nil || n != 6 {
		t.Errorf("Undo = %d, %v", n, err)
	}
	if after := sh(t, repo, "git status --porcelain; find . -path ./.git -prune -o -type f -exec sha256sum {} + | sort"); after != before {
		t.Errorf("before:\n%s\nafter undo:\n%s", before, after)
	}
	if _, err := Undo(t.Context(), r); !errors.Is(err, ErrNothingToUndo) {
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
	err := merge(t, repo, s, w).Apply(t.Context())
	var conflict *ConflictError
	if !errors.As(err, &conflict) || strings.Join(conflict.Paths, " ") != "f ignored new" {
		t.Errorf("Apply = %v, want conflicts in f, ignored, new", err)
	}
	if after := sh(t, repo, "sha256sum *; ls .git"); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// An apply that was cut between any two of its steps is taken back by the next command,
// and so is one whose being taken back was cut; its end, once begun, is ended.
func TestApplyCut(t *testing.T) {
	user(t)
	for name, c := range map[string]struct {
		before string // what the user has done
		o      MergeOptions
	}{
		"tree":        {"", MergeOptions{}},
		"index":       {"echo mine >f6; git add f6", MergeOptions{Index: true}},
		"split index": {"git update-index --split-index", MergeOptions{Index: true}},
		"no index":    {"rm .git/index", MergeOptions{Index: true, Paths: []string{"n"}}},
		"commit":      {"echo mine >f6; git add f6; echo more >>f6", MergeOptions{Commit: true}},
		"detached":    {"git checkout -q --detach", MergeOptions{Commit: true}},
		"unborn":      {"git update-ref -d HEAD; git rm -qr --cached .; git add .", MergeOptions{Commit: true, Paths: []string{"n"}}},
		"markers":     {"echo mine >f1; git add f1", MergeOptions{Index: true, Markers: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			repo := t.TempDir()
			sh(t, repo, `git init -q; for i in 1 6; do echo $i >f$i; done; mkdir d; echo d >d/d; git add .; git commit -qm one`)
			s, w := imported(t, repo, `echo guest >f1; rm -r d; echo d >d; mkdir n; echo n >n/n`)
			sh(t, repo, c.before)
			before := state(t, repo)
			r, err := Open(t.Context(), repo, "")
			if err != nil {
				t.Fatal(err)
			}
			for cut, all := 0, false; !all; cut++ {
				x := begun(t, repo, s, w, c.o)
				all = run(t, x.steps(), cut)
				if all {
					if _, err := Undo(t.Context(), r); err != nil {
						t.Fatalf("Undo: %v", err)
					}
				} else if done, err := Recover(t.Context(), r); !done.Cut || err != nil {
					t.Fatalf("Recover after %d steps = %v, %v", cut, done, err)
				}
				if after := state(t, repo); after != before {
					t.Fatalf("after %d steps and taking them back:\n%s\nwant:\n%s", cut, after, before)
				}
			}
			for cut, all := 0, false; !all; cut++ {
				x := begun(t, repo, s, w, c.o)
				run(t, x.steps(), 1000)
				x, err := openTransaction(r, undoDir)
				if err != nil {
					t.Fatal(err)
				}
				defer x.t.Close()
				if err := x.checkUnedited(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err := x.reopen(); err != nil {
					t.Fatal(err)
				}
				steps, err := x.backSteps(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				all = run(t, steps, cut)
				if _, err := Recover(t.Context(), r); err != nil {
					t.Fatalf("Recover of an Undo after %d steps: %v", cut, err)
				}
				if after := state(t, repo); after != before {
					t.Fatalf("after %d steps back and Recover:\n%s\nwant:\n%s", cut, after, before)
				}
			}
		})
	}
}

// begun is an apply whose journal is written.
func begun(t *testing.T, repo string, s Store, w Work, o MergeOptions) *transaction {
	t.Helper()
	m := mergeWith(t, repo, s, w, o)
	if err := m.Refused(); err != nil {
		t.Fatal(err)
	}
	x, err := m.begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// steps are all that an apply does after its journal is written.
func (x *transaction) steps() []func(context.Context) error {
	return slices.Concat(x.guards(), x.changes())
}

// run runs the first n of steps, and reports whether these are all.
func run(t *testing.T, steps []func(context.Context) error, n int) bool {
	t.Helper()
	for i, step := range steps[:min(n, len(steps))] {
		if err := step(t.Context()); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
	}
	return n >= len(steps)
}

// state is all that an apply may change: files, index, branch, and what was applied; and
// that no lock is left.
func state(t *testing.T, repo string) string {
	t.Helper()
	return sh(t, repo, `find . -name .git -prune -o -type f -exec sha256sum {} + -o -type l -printf '%p %l\n' | sort
		git ls-files -s; git ls-files -v; git status --porcelain
		cd "$(git rev-parse --git-dir)"
		cat HEAD; git rev-parse -q --verify HEAD || echo unborn; cat banger-applied.json 2>/dev/null || printf '{}'; echo; ls index.lock 2>/dev/null || echo no lock`)
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
		if err := merge(t, repo, s, bringOut(t, s, home)).Apply(t.Context()); err != nil {
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
	if err := merge(t, repo, s, w).Apply(t.Context()); err != nil {
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
	m, err := NewMerge(t.Context(), r, s, w, MergeOptions{Name: "dev", Scratch: scratch})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := m.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := sh(t, repo, "cat f n; ls .git/banger-undo"); got != "1\n2\nn\njournal.json\nnew\nold\n" {
		t.Errorf("after Apply: %q", got)
	}
}

// An apply that was cut while it wrote a file leaves nothing of that, nor the directories
// that it had made for it.
func TestApplyCutWriting(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; echo 1 >f; mkdir d; echo d >d/d; git add .; git commit -qm one`)
	s, w := imported(t, repo, `echo guest >f; echo guest >d/d; mkdir -p n/n; echo n >n/n/n`)
	const list = "find . -path ./.git -prune -o -print | sort; cat f d/d"
	before := sh(t, repo, list)
	for n := range 3 {
		x := begun(t, repo, s, w, MergeOptions{})
		p := x.j.Paths[n]
		if err := x.t.put(path.Join(path.Dir(string(p.Path)), tempName), x.file("new", n), p.NewMode, tempName+".2"); err != nil {
			t.Fatal(err)
		}
		x.t.Close()
		if was, err := Recover(t.Context(), x.r); !was.Cut || err != nil {
			t.Fatalf("Recover while %q was written = %v, %v", p.Path, was, err)
		}
		if after := sh(t, repo, list); after != before {
			t.Errorf("after %q and Recover:\n%s\nwant:\n%s", p.Path, after, before)
		}
	}
}

// What came into the way of what an apply removed is an edit: it is named, and nothing is
// taken back by halves.
func TestUndoInTheWay(t *testing.T) {
	user(t)
	for name, c := range map[string]struct{ guest, host, edited string }{
		"a directory in a file's place":   {"rm f", "mkdir f; echo mine >f/mine", `"f/mine"`},
		"a file beside the guest's":       {"rm f; mkdir f; echo g >f/g", "echo mine >f/mine", `"f/mine"`},
		"a file in a directory's place":   {"rm d/2", "rm -r d; echo mine >d", `"d"`},
		"a link in a directory's place":   {"rm d/2", "mv d e; ln -s e d", `"d"`},
		"a FIFO in a file's place":        {"echo more >f", "rm f; mkfifo f", `"f"`},
		"an empty directory":              {"rm f", "mkdir f", ""},
		"a directory that was a file":     {"rm -r d; echo d >d", "rm d; mkdir d; echo mine >d/mine", ""},
		"a file in a new directory's way": {"mkdir n; echo n >n/n", "rm -r n; echo mine >n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			repo := t.TempDir()
			sh(t, repo, `git init -q; echo 1 >f; mkdir d; echo 1 >d/1; echo 2 >d/2; git add .; git commit -qm one`)
			s, w := imported(t, repo, c.guest)
			if err := merge(t, repo, s, w).Apply(t.Context()); err != nil {
				t.Fatal(err)
			}
			sh(t, repo, c.host)
			before := state(t, repo)
			r, err := Open(t.Context(), repo, "")
			if err != nil {
				t.Fatal(err)
			}
			_, err = Undo(t.Context(), r)
			var edited *EditedError
			if errors.As(err, &edited) {
				if got := strings.Join(edited.Paths, " "); got != c.edited {
					t.Errorf("Undo = %v, want %s", err, c.edited)
				}
				if after := state(t, repo); after != before {
					t.Errorf("before:\n%s\nafter:\n%s", before, after)
				}
			} else if err != nil || c.edited != "" {
				t.Errorf("Undo = %v, want %q edited", err, c.edited)
			}
			if _, err := Recover(t.Context(), r); err != nil {
				t.Errorf("Recover = %v", err)
			}
		})
	}
}

// An edit that comes after the merge, and after the journal, is not written over.
func TestApplyEditBetween(t *testing.T) {
	user(t)
	for name, c := range map[string]struct{ edit, want string }{
		"in place":    {"echo mine >>f", "1\nmine\n"},
		"by a rename": {"echo mine >g; mv g f", "mine\n"},
		"removed":     {"rm f; echo 1 >h", "no f\n"},
		"made":        {"echo mine >n", "1\nmine\n"},
		"none":        {":", "1\nguest\nguest\na\n"}, // though two names are of one file
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			repo := t.TempDir()
			sh(t, repo, `git init -q; echo 1 >f; ln f hard; git add .; git commit -qm one`)
			s, w := imported(t, repo, `echo guest >>f; echo guest >n; echo a >a; echo hard >hard`)
			x := begun(t, repo, s, w, MergeOptions{})
			sh(t, repo, c.edit)
			var changed *ChangedError
			if err := x.run(t.Context()); errors.As(err, &changed) != (c.edit != ":") {
				t.Errorf("apply = %v, want ChangedError after an edit", err)
			}
			if got := sh(t, repo, "cat f 2>/dev/null || echo no f; cat n 2>/dev/null || true; ls a .git/banger-apply 2>/dev/null || true"); got != c.want {
				t.Errorf("after it there is %q, want %q", got, c.want)
			}
		})
	}
}

// What was applied is noted though the file of notes is not one of banger's.
func TestAppliedNull(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; echo 1 >f; git add .; git commit -qm one; echo null >.git/banger-applied.json`)
	s, w := imported(t, repo, "echo 2 >f")
	if err := merge(t, repo, s, w).Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r, err := Open(t.Context(), repo, ""); err != nil || readApplied(r)[s.id()] != w.Tree {
		t.Errorf("applied are %v, %v", readApplied(r), err)
	}
}

// A directory that one side renamed takes no file of the other's along, and such a file is
// no conflict.
func TestApplyRenamedDirectory(t *testing.T) {
	user(t)
	for name, c := range map[string]struct{ guest, host, want string }{
		"by the guest": {"git mv d e", "echo mine >d/new; git add .; git commit -qm new; echo x >d/untracked", "d/new\nd/untracked\ne/1\ne/2\n"},
		"by the host":  {"echo guest >d/new", "git mv d e; git commit -qm e", "d/new\ne/1\ne/2\n"},
	} {
		for _, o := range []MergeOptions{{}, {Commit: true}} {
			repo := t.TempDir()
			sh(t, repo, `git init -q; mkdir d; seq 20 >d/1; seq 30 >d/2; git add .; git commit -qm one`)
			s, w := imported(t, repo, c.guest)
			sh(t, repo, c.host)
			if err := mergeWith(t, repo, s, w, o).Apply(t.Context()); err != nil {
				t.Errorf("renamed %s: %v", name, err)
			} else if got := sh(t, repo, "find . -name .git -prune -o -type f -printf '%P\\n' | sort"); got != c.want {
				t.Errorf("renamed %s: there are\n%s", name, got)
			}
		}
	}
}

// Who takes an apply back with git is told, and can have it again.
func TestApplyReverted(t *testing.T) {
	user(t)
	for name, c := range map[string]struct {
		o      MergeOptions
		revert string
	}{
		"tree":             {MergeOptions{}, "git checkout -q .; rm n"},
		"index":            {MergeOptions{Index: true}, "git reset -q --hard"},
		"commit":           {MergeOptions{Commit: true}, "git reset -q --hard HEAD~"},
		"commit, not tree": {MergeOptions{Commit: true}, "git reset -q HEAD~"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			repo := t.TempDir()
			sh(t, repo, `git init -q; seq 20 >f; git add .; git commit -qm one`)
			s, w := imported(t, repo, `echo guest >>f; echo n >n`)
			if err := mergeWith(t, repo, s, w, c.o).Apply(t.Context()); err != nil {
				t.Fatal(err)
			}
			sh(t, repo, `sed -i 's/^1$/mine/' f`)
			if m := merge(t, repo, s, w); !m.IsEmpty() || m.Reverted {
				t.Errorf("after an apply: %+v, reverted %v", m.Changes, m.Reverted)
			}
			sh(t, repo, `sed -i 's/^mine$/1/' f; `+c.revert)
			if m := merge(t, repo, s, w); !m.IsEmpty() || m.Reverted != (name != "commit, not tree") {
				t.Errorf("after it was reverted: %+v, reverted %v", m.Changes, m.Reverted)
			}
			r, err := Open(t.Context(), repo, "")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Undo(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			if err := mergeWith(t, repo, s, w, c.o).Apply(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := sh(t, repo, "tail -1 f; cat n; git rev-list --count HEAD"); got != map[bool]string{false: "guest\nn\n1\n", true: "guest\nn\n2\n"}[c.o.Commit] {
				t.Errorf("applied again: %q", got)
			}
		})
	}
}

// A cut apply is not taken back over what came into the way: what it removed stays in its
// journal, and comes back when the way is free.
func TestRecoverInTheWay(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; echo 1 >f; echo 1 >g; git add .; git commit -qm one`)
	s, w := imported(t, repo, "rm f; echo 2 >g")
	x := begun(t, repo, s, w, MergeOptions{})
	run(t, x.steps(), 1)
	sh(t, repo, "mkdir f; echo mine >f/mine")
	for range 2 {
		if _, err := Recover(t.Context(), x.r); err == nil || !strings.Contains(err.Error(), x.dir) {
			t.Errorf("Recover = %v, want where it is", err)
		}
	}
	sh(t, repo, "test ! -d f/f; mv f mine")
	if was, err := Recover(t.Context(), x.r); !was.Cut || err != nil {
		t.Errorf("Recover = %v, %v", was, err)
	}
	if got := sh(t, repo, "cat f g mine/mine; git status --porcelain"); got != "1\n1\nmine\n?? mine/\n" {
		t.Errorf("there is %q", got)
	}
}
