package workspace

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"testing"

	"banger/internal/workspace/wire"
)

// A quick look says what git says, and its pack has what git's has. Each state that is not
// ordinary is git's to find out.
func TestQuickLook(t *testing.T) {
	const quick, plain = true, false
	for _, tt := range []struct {
		name, script string
		want         bool
	}{
		{"nothing", ``, quick},
		{"an edit", `echo 2 >>d/e/f`, quick},
		{"a new file", `echo n >new; mkdir -p x/y; echo n >x/y/z`, quick},
		{"deleted", `rm d/e/f`, quick},
		{"all deleted", `rm -r d f l exe .gitignore`, quick},
		{"staged", `echo 2 >f; git add f`, quick},
		{"staged, and edited on top of it", `echo 2 >f; git add f; echo 3 >f`, quick},
		{"staged, and taken back", `echo 2 >f; git add f; git reset -q`, quick},
		{"modes", `chmod +x f; chmod -x exe`, quick},
		{"a link", `ln -sfn elsewhere l; rm f; ln -s d f`, quick},
		{"a file for a directory", `rm -r d; echo d >d`, quick},
		{"a directory for a file", `rm f; mkdir f; echo 1 >f/g`, quick},
		{"a link for a directory with the same files", `mv d real; ln -s real d`, quick},
		{"names in git's order", `mkdir a; echo 1 >a/x; echo 2 >a.b; echo 3 >a0; echo 4 >a-; git add a`, quick},
		{"the same content twice", `echo same >one; echo same >two; mkdir q r; cp one q; cp one r`, quick},
		{"ignored", `mkdir out; echo o >out/o; echo o >o.log`, quick},
		{"moved", `git mv d moved`, quick},
		{"odd names", "echo 1 >'new\nline'; echo 2 >-dash; echo 3 >':(top)x'; echo 4 >\"$(printf '\\377')\"", quick},
		{"a branch at the same commit", `git checkout -q -b topic/x; echo 2 >f`, quick},
		{"lines' ends that git converts", `git config core.autocrlf input; printf 'a\r\nb\r\n' >f`, plain},
		{"lines' ends, and no edit of such", `git config core.autocrlf input; echo 2 >f`, quick},
		{"a filter", `git config filter.x.clean 'tr a b'; echo '*.x filter=x' >.gitattributes; echo aaa >a.x`, plain},
		{"large", `head -c 300000 /dev/urandom >large`, plain},
		{"a commit", `echo 2 >f; git commit -qam two`, plain},
		{"a detached HEAD", `git checkout -q --detach; echo 2 >f`, plain},
		{"a stash", `echo 2 >f; git stash -q`, plain},
		{"a branch with a name", `git checkout -q -b 'ü'; echo 2 >f`, plain},
		{"a mark that git is not to look", `git update-index --assume-unchanged f; echo 2 >f`, plain},
		{"sparse", `git update-index --skip-worktree f; rm f`, plain},
		{"an intent to add", `echo n >n; git add -N n`, plain},
		{"a conflict", `git checkout -q -b o; echo o >f; git commit -qam o; git checkout -q -; echo m >f; git commit -qam m; git merge o || true`, plain},
		{"a repository inside", `git init -q in; echo 1 >in/f`, plain},
		{"an ignored repository inside", `git init -q out; echo 1 >out/f`, plain},
		{"a submodule", `git init -q s; git -C s commit -q --allow-empty -m s; git add s`, plain},
		{"an ignored path of the base", `git rm -q --cached f; echo /f >>.gitignore`, plain},
		{"another version of the index", `git update-index --index-version 4; echo 2 >f`, plain},
		{"a split index", `git update-index --split-index; echo 2 >f`, plain},
		{"another repository", `rm -rf .git; git init -q`, plain},
		{"written in the same second", `git config core.trustctime false; touch -d @1700000000 f; git update-index f; touch -d @1700000000 .git/index; echo 2 >f; touch -d @1700000000 f`, quick},
	} {
		t.Run(tt.name, func(t *testing.T) {
			home, tree, base := newCopy(t)
			store := filepath.Join(home, "store")
			sh(t, home, `git init -q --bare store; cp -r repo/.git/objects store`)
			sh(t, tree, tt.script)
			q := wire.Question{Path: []byte("repo"), Base: base, Hash: "sha1"}
			l, err := lookOwn(t.Context(), q, tree)
			if err != nil {
				t.Fatal(err)
			}
			is := l.objects != nil
			l.close()
			if is != tt.want {
				t.Errorf("a quick look: %v, want %v", is, tt.want)
			}
			got := askBoth(t, home, q)
			if got.Anew || !got.Pack {
				return
			}
			// The host has the base, and what came in the pack.
			sh(t, store, "git ls-tree -r "+got.Tree+" >/dev/null; git rev-list --objects --no-walk "+got.Tree+" | cut -d' ' -f1 | git cat-file --batch-check | (! grep missing)")
		})
	}
}

// newCopy is newRepository with some files, as Receive makes it.
func newCopy(t *testing.T) (home, tree, base string) {
	t.Helper()
	home, tree, _ = newRepository(t)
	base = sh(t, tree, `mkdir -p d/e; echo 1 >d/e/f; echo 1 >d/g; ln -s f l; echo x >exe; chmod +x exe; printf '*.log\nout\n' >.gitignore
		git add .; git commit -qm two; git rev-parse HEAD; touch -d @1600000000 f d/e/f d/g exe .gitignore; git update-index -q --refresh; cp -p .git/index .git/banger-index`)
	text, err := json.Marshal(wire.Base{Base: base, Tree: sh(t, tree, "git rev-parse HEAD^{tree}"), Head: base})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(tree, gitDir, wire.BaseFile), append(text, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
	return home, tree, base
}

// askBoth asks with git alone, and as a guest is asked, whose pack goes into the store.
func askBoth(t *testing.T, home string, q wire.Question) wire.Report {
	t.Helper()
	var reports [2]wire.Report
	for n := range reports {
		q.Plain = n == 0
		var out bytes.Buffer
		if err := Report(t.Context(), q, home, &out); err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(&out)
		if err := wire.ReadJSON(r, &reports[n]); err != nil || reports[n].Error != "" {
			t.Fatalf("%+v, %v", reports[n], err)
		}
		if n == 1 && reports[n].Pack {
			cmd := exec.Command("git", "index-pack", "--stdin", "--fix-thin", "--strict")
			cmd.Dir, cmd.Stdin = filepath.Join(home, "store"), r
			if text, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("git index-pack: %v: %s", err, text)
			}
		}
	}
	if !reflect.DeepEqual(reports[0], reports[1]) {
		t.Errorf("git says %+v, a quick look %+v", reports[0], reports[1])
	}
	return reports[1]
}

// An index that git wrote is read as git reads it.
func FuzzParseIndex(f *testing.F) {
	f.Add([]byte("DIRC\x00\x00\x00\x02\x00\x00\x00\x00TREE\x00\x00\x00\x06\x00-1 0\n01234567890123456789"))
	f.Fuzz(func(t *testing.T, text []byte) {
		x, err := parseIndex(text, 20)
		if err != nil {
			return
		}
		for _, e := range x.entries {
			if len(e.ID) != 20 || len(e.stat) != indexStatLength || bytes.IndexByte(e.Path, 0) >= 0 {
				t.Fatalf("an entry is %+v", e)
			}
		}
	})
}
