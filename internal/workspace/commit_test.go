package workspace

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

// A commit has what the guest changed, on HEAD, and no edit of the user's; index and
// work tree keep theirs. An undo takes it back while the branch is at it.
func TestApplyCommit(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; seq 20 >f; seq 20 >g; echo 1 >h; echo .env >.gitignore; git add .; git commit -qm one; echo SECRET >.env; echo u >u; sed -i s/^20$/mine/ g`)
	p := plan(t, repo, Options{Include: []string{".env"}})
	home, tree := send(t, p)
	s, err := NewStore(t.Context(), filepath.Join(t.TempDir(), "store"), p, Owner{Name: "dev", GuestPath: "repo"})
	if err != nil {
		t.Fatal(err)
	}
	sh(t, tree, `sed -i s/^5$/guest/ f; git commit -qm "$(printf 'fix \033[31mthe f')" f; echo n >n; git add n; git commit -qm 'add n'; echo MORE >>.env; chmod +x h`)
	w := bringOut(t, s, home)
	// A staged edit in what the guest changed, one elsewhere, and an unstaged one.
	sh(t, repo, `git commit -q --allow-empty -m two; sed -i s/^1$/staged/ f; git add f g; sed -i s/^2$/unstaged/ g; git config commit.gpgsign true`)
	before := state(t, repo)
	m := mergeWith(t, repo, s, w, MergeOptions{Commit: true})
	if !m.Unsigned {
		t.Error("the merge does not say that the commit will not be signed")
	}
	if err := m.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := sh(t, repo, `git log -1 --format='%an %ae %cn %P%n%B' --no-show-signature | sed "s/$(git rev-parse main^)/PARENT/"; git show --stat --format= | cat; git status --porcelain; git show HEAD:f | sed -n '1p;5p'; git show :f | sed -n '1p;5p'; cat .env; git fsck --no-dangling 2>&1; git reflog -1 --format=%gs`)
	want := `U u@example.org U PARENT
Work of VM dev

Commits in the VM:
* fix [31mthe f
* add n

 f | 2 +-
 h | 0
 n | 1 +
 3 files changed, 2 insertions(+), 1 deletion(-)
M  f
MM g
?? u
1
guest
staged
guest
SECRET
MORE
commit: work of a VM
`
	if got != want {
		t.Errorf("after apply:\n%s\nwant:\n%s", got, want)
	}
	if found := sh(t, repo, `for o in $(git cat-file --batch-all-objects --batch-check='%(objectname)'); do git cat-file -p $o | grep -a -l SECRET && echo $o; done; true`); found != "" {
		t.Errorf("the user's repository holds the ignored file: %s", found)
	}
	r, err := Open(t.Context(), repo, "")
	if err != nil {
		t.Fatal(err)
	}
	// The branch has gone on, or HEAD is on another: the commit stays.
	for _, script := range []string{
		`git config commit.gpgsign false; git commit -q --allow-empty -m three`,
		`git reset -q --soft main^; git checkout -qb other`,
	} {
		sh(t, repo, script)
		var edited *EditedError
		if _, err := Undo(t.Context(), r); !errors.As(err, &edited) || !strings.Contains(err.Error(), `the branch "main"`) {
			t.Errorf("Undo after %s = %v", script, err)
		}
	}
	sh(t, repo, `git checkout -q main; git branch -qD other; git config commit.gpgsign true`)
	if _, err := Undo(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if after := state(t, repo); after != before {
		t.Errorf("after undo:\n%s\nwant:\n%s", after, before)
	}
}

// What the user committed on top of an apply that was cut at its very end stays, and so
// does the apply.
func TestApplyCommitCutAtTheEnd(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; echo 1 >f; git add .; git commit -qm one`)
	s, w := imported(t, repo, `echo guest >f`)
	x := begun(t, repo, s, w, MergeOptions{Commit: true})
	run(t, x.steps(), len(x.steps())-3)
	sh(t, repo, `test ! -e .git/index.lock; echo mine >g; git add g; git commit -qm mine`)
	want := sh(t, repo, "git log --format=%H; cat f g; git status --porcelain")
	if was, err := Recover(t.Context(), x.r); was.Cut || err != nil {
		t.Errorf("Recover = %v, %v: want nothing taken back", was, err)
	}
	if got := sh(t, repo, "git log --format=%H; cat f g; git status --porcelain"); got != want {
		t.Errorf("after Recover:\n%s\nwant:\n%s", got, want)
	}
	if m := merge(t, repo, s, w); !m.IsEmpty() {
		t.Errorf("there is still something to apply: %v", m.Changes)
	}
}

// A commit is refused by name where it can't be the user's.
func TestApplyCommitRefused(t *testing.T) {
	user(t)
	for name, c := range map[string]struct{ guest, host, want string }{
		"merge":         {``, `git checkout -qb b; git commit -q --allow-empty -m b; git checkout -q main; git commit -q --allow-empty -m m; git merge -q --no-commit --no-ff b`, "a merge is under way"},
		"cherry-pick":   {``, `git rev-parse HEAD >.git/CHERRY_PICK_HEAD`, "a cherry-pick is under way"},
		"revert":        {``, `git rev-parse HEAD >.git/REVERT_HEAD`, "a revert is under way"},
		"rebase":        {``, `mkdir .git/rebase-merge`, "a rebase is under way"},
		"am":            {``, `mkdir .git/rebase-apply`, "a rebase is under way"},
		"bisect":        {``, `git bisect start -q 2>/dev/null || git bisect start`, "a bisect is under way"},
		"no name":       {``, `git config user.name ""`, "does not say who commits"},
		"edits of mine": {``, `sed -i s/^5$/mine/ f; git add f`, "both sides changed"},
		"not in HEAD":   {``, `git rm -q --cached g; git commit -qm 'without g'; git add g`, "does not merge with HEAD"},
		"private":       {`cp .env leak`, ``, `"leak" has the content of ".env"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			repo := t.TempDir()
			sh(t, repo, `git init -q; seq 9 >f; echo 1 >g; echo .env >.gitignore; git add .; git commit -qm one; echo S >.env`)
			p := plan(t, repo, Options{Include: []string{".env"}})
			home, tree := send(t, p)
			s, err := NewStore(t.Context(), filepath.Join(t.TempDir(), "store"), p, Owner{Name: "dev", GuestPath: "repo"})
			if err != nil {
				t.Fatal(err)
			}
			sh(t, tree, `sed -i s/^5$/guest/ f; echo 2 >g;`+c.guest)
			w := bringOut(t, s, home)
			sh(t, repo, c.host)
			before := state(t, repo)
			r, err := Open(t.Context(), repo, "")
			if err != nil {
				t.Fatal(err)
			}
			m, err := NewMerge(t.Context(), r, s, w, MergeOptions{Name: "dev", Scratch: t.TempDir(), Commit: true})
			if err == nil {
				defer m.Close()
				err = m.Apply(t.Context())
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %v, want %q", err, c.want)
			}
			if after := state(t, repo); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
		})
	}
}

// In a linked worktree the commit is on its branch, and the others' HEAD and index stay.
func TestApplyCommitWorktree(t *testing.T) {
	user(t)
	main := filepath.Join(t.TempDir(), "main")
	repo := filepath.Join(filepath.Dir(main), "linked")
	sh(t, filepath.Dir(main), `git init -q main; cd main; echo 1 >f; git add .; git commit -qm one; git worktree add -q ../linked`)
	for _, setup := range []string{"git status", "git checkout -q --detach"} {
		sh(t, repo, setup)
		s, w := imported(t, repo, `echo guest >>f`)
		before := state(t, main)
		if err := mergeWith(t, repo, s, w, MergeOptions{Commit: true, Message: "mine\n\ntext"}).Apply(t.Context()); err != nil {
			t.Fatal(err)
		}
		if after := state(t, main); after != before {
			t.Errorf("the other work tree:\n%s\nwant:\n%s", after, before)
		}
		if got := sh(t, repo, "git log -1 --format=%B; git status --porcelain; git reflog -1 --format=%gs"); got != "mine\n\ntext\n\ncommit: work of a VM\n" {
			t.Errorf("in the work tree: %q", got)
		}
	}
}
