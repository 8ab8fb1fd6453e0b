package workspace

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// An apply with the index stages what it changes and nothing else, whatever kind of
// index the user has, and an undo keeps what was staged since.
func TestApplyIndex(t *testing.T) {
	user(t)
	for name, setup := range map[string]string{
		"plain":     ``,
		"version 4": `git update-index --index-version 4`,
		"split":     `git config core.splitIndex true; git update-index --split-index`,
		"untracked": `git config core.untrackedCache true; git update-index --untracked-cache; git status >/dev/null`,
		"sparse":    `git sparse-checkout set --cone --sparse-index d; git ls-files --sparse -t | grep -q 'S out/' || git version`,
		"sha256":    "",
	} {
		t.Run(name, func(t *testing.T) {
			repo := t.TempDir()
			format := "sha1"
			if name == "sha256" {
				format = name
			}
			sh(t, repo, `git init -q --object-format=`+format+`; for i in 1 2 3 4; do seq 9 >f$i; done; mkdir d out; echo 1 >d/1; echo o >out/o; echo p >out/p; git add .; git commit -qm one`)
			sh(t, repo, "git update-index --assume-unchanged f2; "+setup)
			s, w := imported(t, repo, `sed -i s/^5$/guest/ f1 f2; git mv d/1 d/moved; echo n >n; chmod +x f3; git commit -qam guest; echo more >>n; mkdir -p out; echo guest >out/o`)
			// Staged edits of the user's: in a file that the guest changed too, and in another.
			sh(t, repo, `sed -i s/^1$/mine/ f1; echo mine >f4; git add f1 f4; echo unstaged >>f4; echo u >u; echo i >i; git add -N i`)
			before := state(t, repo)
			if err := mergeWith(t, repo, s, w, MergeOptions{Index: true}).Apply(t.Context()); err != nil {
				t.Fatal(err)
			}
			want := "M  f1\nM  f2\nM  f3\nMM f4\n A i\nA  n\nM  out/o\n?? u\n"
			if got := sh(t, repo, "git status --porcelain --no-renames | grep -v d/; git fsck --no-dangling 1>&2"); got != want {
				t.Errorf("git status says\n%s\nwant\n%s", got, want)
			}
			if got := sh(t, repo, "git status --porcelain --no-renames d; git show :out/o; git show :f1 | sed -n '1p;5p'; git show :n"); got != "D  d/1\nA  d/moved\nguest\nmine\nguest\nn\nmore\n" {
				t.Errorf("in the index: %s", got)
			}
			r, err := Open(t.Context(), repo, "")
			if err != nil {
				t.Fatal(err)
			}
			sh(t, repo, `git add u; echo more >>f2; git add f2; git show :f2 >/dev/null; git restore --source=HEAD f2; sed -i s/^5$/guest/ f2`)
			var edited *EditedError
			if _, err := Undo(t.Context(), r); !errors.As(err, &edited) || strings.Join(edited.Paths, " ") != `"f2" in the index` {
				t.Errorf("Undo over a staged edit = %v", err)
			}
			sh(t, repo, `git add f2`)
			if _, err := Undo(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			if got := sh(t, repo, "git status --porcelain u"); got != "A  u\n" {
				t.Errorf("what was staged after the apply: %q", got)
			}
			sh(t, repo, `git rm -q --cached u`)
			if after := state(t, repo); after != before {
				t.Errorf("after undo:\n%s\nwant:\n%s", after, before)
			}
			sh(t, repo, "git fsck")
		})
	}
}

// A file that the index has otherwise than the work tree is refused by name, and
// nothing changes.
func TestApplyIndexDirty(t *testing.T) {
	user(t)
	for name, c := range map[string]struct{ host, dirty string }{
		"unstaged":      {`echo mine >>f`, "f"},
		"staged before": {`echo mine >>f; git add f; git restore --source=HEAD f`, "f"},
		"mode":          {`chmod +x f`, "f"},
		"not tracked":   {`git rm -q --cached f`, "f"},
		"intent to add": {`git rm -q --cached f; git add -N f`, "f"},
		"removed":       {`git show :d/1 >new; git add new; rm new`, "new"},
		"in the way":    {`mkdir new; echo 1 >new/x; git add new; rm -r new`, "new/x"},
		"above":         {`echo 1 >n; git add n; rm n`, "n"},
		"in a conflict": {`printf '0 %040d\tf\n100644 %s 1\tf\n100644 %s 2\tf\n' 0 $(git rev-parse :f :f) | git update-index --index-info`, "f"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			repo := t.TempDir()
			sh(t, repo, `git init -q; seq 9 >f; mkdir d; echo 1 >d/1; git add .; git commit -qm one`)
			s, w := imported(t, repo, `sed -i s/^5$/guest/ f; echo new >new; mkdir n; echo n >n/n`)
			sh(t, repo, c.host)
			before := state(t, repo)
			for _, o := range []MergeOptions{{Index: true}, {Commit: true}} {
				var dirty *DirtyError
				if err := mergeWith(t, repo, s, w, o).Apply(t.Context()); !errors.As(err, &dirty) || strings.Join(dirty.Paths, " ") != c.dirty {
					t.Errorf("Apply = %v, want DirtyError for %s", err, c.dirty)
				}
			}
			if after := state(t, repo); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
		})
	}
}

// An index that is locked, that became another, or that is none, stops an apply, and
// stays what it is. Nothing of the repository's runs.
func TestApplyIndexHostile(t *testing.T) {
	user(t)
	defer func(old time.Duration) { refLimit = old }(refLimit)
	refLimit = 2 * time.Second
	for name, c := range map[string]struct {
		before string // the merge
		after  string // the merge, and before the apply
		want   string
	}{
		"locked":               {``, `echo mine >.git/index.lock`, "git has locked the index"},
		"lock is a link":       {``, `ln -s ../f .git/index.lock`, "git has locked the index"},
		"lock is a FIFO":       {``, `mkfifo .git/index.lock`, "git has locked the index"},
		"staged meanwhile":     {``, `echo x >x; git add x`, `".git/index" changed while it was read`},
		"became a FIFO":        {``, `rm .git/index; mkfifo .git/index`, "not a regular file"},
		"became a link":        {``, `mv .git/index ../i; ln -s ../../i .git/index`, "not a regular file"},
		"gone":                 {``, `mv .git/index ../i`, `".git/index" changed while it was read`},
		"path became a link":   {``, `rm f; ln -s /etc/passwd f`, `"f" changed while it was read`},
		"directory is a link":  {`mkdir ../d`, `rm -r d; ln -s ../d d`, "changed while it was read"},
		"hooks and fsmonitor":  {`for h in post-index-change reference-transaction pre-commit post-commit commit-msg; do cp "$CANARY" .git/hooks/$h; done; git config core.fsmonitor "$CANARY"; git config core.hooksPath .git/hooks`, ``, ""},
		"filter":               {`git config filter.x.clean "$CANARY"; git config filter.x.smudge "$CANARY"; git config filter.x.process "$CANARY"; echo '* filter=x' >.git/info/attributes`, ``, ""},
		"signing, editor":      {`git config commit.gpgsign true; git config gpg.program "$CANARY"; git config core.editor "$CANARY"; git config user.signingkey x`, ``, ""},
		"HEAD moved":           {``, `git checkout -qb other`, "HEAD moved while the work was applied"},
		"branch moved":         {``, `git update-ref refs/heads/main $(git commit-tree -p HEAD -m x HEAD^{tree})`, "git update-ref"},
		"branch is locked":     {``, `touch .git/refs/heads/main.lock`, "git update-ref"},
		"config is endless":    {``, `mkfifo fifo; git config include.path "$PWD/fifo"`, "git did not answer"},
		"objects can't come":   {``, `rm -r .git/objects/pack; ln -s /nowhere .git/objects/pack`, "pack"},
		"lock of nobody's own": {``, `mkdir .git/index.lock`, "git has locked the index"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			ran, canary := filepath.Join(dir, "ran"), filepath.Join(dir, "canary")
			if err := os.WriteFile(canary, []byte("#!/bin/sh\ntouch "+ran+"\ncat\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			t.Setenv("CANARY", canary)
			repo := filepath.Join(dir, "repo")
			sh(t, dir, `git init -q repo; cd repo; seq 9 >f; mkdir d; echo 1 >d/1; git add .; git commit -qm one`)
			s, w := imported(t, repo, `sed -i s/^5$/guest/ f; echo 2 >d/1; echo n >n`)
			sh(t, repo, c.before)
			os.Remove(ran)
			m := mergeWith(t, repo, s, w, MergeOptions{Commit: true})
			if err := m.Refused(); err != nil {
				t.Fatal(err)
			}
			sh(t, repo, c.after)
			os.Remove(ran)
			const files = `find . -path ./.git/objects -prune -o ! -name 'banger-appl*' -printf '%p %y %l\n' | sort; find . -path ./.git/objects -prune -o ! -name 'banger-appl*' -type f -exec sha256sum {} + | sort`
			before := sh(t, repo, files)
			err := m.Apply(t.Context())
			switch {
			case c.want == "" && err != nil:
				t.Errorf("Apply = %v", err)
			case c.want == "":
				r, err := Open(t.Context(), repo, "")
				if err != nil {
					t.Fatal(err)
				}
				if _, err := Undo(t.Context(), r); err != nil {
					t.Errorf("Undo = %v", err)
				}
			case err == nil || !strings.Contains(err.Error(), c.want):
				t.Errorf("Apply = %v, want %q", err, c.want)
			}
			if after := sh(t, repo, files); c.want != "" && after != before {
				t.Errorf("not as before:\n%s", cmp.Diff(before, after))
			}
			if _, err := os.Lstat(ran); err == nil {
				t.Error("something of the repository's ran")
			}
		})
	}
}

// While a git has the index, an apply that was cut is not taken back, and one that ended
// is not either: both wait for it, whole.
func TestRecoverLockedIndex(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; echo 1 >f; git add .; git commit -qm one`)
	s, w := imported(t, repo, `echo guest >f; echo n >n`)
	before := state(t, repo)
	for _, ended := range []bool{false, true} {
		x := begun(t, repo, s, w, MergeOptions{Index: true})
		take := Recover
		if run(t, x.steps(), len(x.steps())-3); ended {
			run(t, x.ending(), 3)
			take = func(ctx context.Context, r *Repository) (Recovered, error) {
				_, err := Undo(ctx, r)
				return Recovered{}, err
			}
		}
		sh(t, repo, `touch .git/index.lock`)
		applied := sh(t, repo, "cat f n; git ls-files -s")
		if _, err := take(t.Context(), x.r); !errors.Is(err, ErrIndexLocked) {
			t.Errorf("with a lock: %v", err)
		}
		if got := sh(t, repo, "cat f n; git ls-files -s"); got != applied {
			t.Errorf("with a lock:\n%s\nwant:\n%s", got, applied)
		}
		sh(t, repo, `rm .git/index.lock`)
		if _, err := take(t.Context(), x.r); err != nil {
			t.Errorf("without it: %v", err)
		}
		if after := state(t, repo); after != before {
			t.Errorf("before:\n%s\nafter:\n%s", before, after)
		}
	}
}
