package workspace

import (
	"bytes"
	"os"
	"os/exec"
	"testing"

	"banger/internal/workspace/wire"
)

// sh runs a script with the machine's own git, as a guest would, in dir.
func sh(t *testing.T, dir, script string) string {
	t.Helper()
	cmd := exec.Command("sh", "-euc", script)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(bytes.TrimSpace(out))
}

// newRepository makes one in a home of its own, with one commit, and returns its
// base.
func newRepository(t *testing.T) (home, tree, base string) {
	t.Helper()
	home = t.TempDir()
	t.Setenv("HOME", home)
	tree = home + "/repo"
	base = sh(t, home, `git config --global user.name G; git config --global user.email g@example.org
		git init -q repo; cd repo; echo 1 >f; git add f; git commit -qm one; git rev-parse HEAD`)
	return home, tree, base
}

func ask(t *testing.T, home, base string) wire.Report {
	t.Helper()
	r, err := look(t.Context(), wire.Question{Path: []byte("repo"), Base: base, Head: base, Hash: "sha1"}, home)
	if err != nil {
		t.Fatal(err)
	}
	r.close()
	return r.Report
}

// A file that was written again in the second in which git saw it, with as many
// bytes, is a change: only its content tells.
func TestWrittenInTheSameSecond(t *testing.T) {
	home, tree, base := newRepository(t)
	before := ask(t, home, base).Tree
	sh(t, tree, `git config core.trustctime false; touch -d @1700000000 f; git update-index f; touch -d @1700000000 .git/index; echo 2 >f; touch -d @1700000000 f`)
	if after := ask(t, home, base).Tree; after == before {
		t.Errorf("the tree is %s before and after the change", after)
	}
}

// Marks that tell git not to look hide no edit, and a file that a sparse checkout
// left out is no deletion.
func TestMarks(t *testing.T) {
	home, tree, _ := newRepository(t)
	base := sh(t, tree, `echo a >a; echo s >s; echo kept >k; git add .; git commit -qm two; git rev-parse HEAD`)
	sh(t, tree, `git update-index --assume-unchanged a; git update-index --skip-worktree s k; echo edit >>a; echo edit >>s; rm k`)
	got := ask(t, home, base).Tree
	if diff := sh(t, tree, "git update-index --no-assume-unchanged a; git update-index --no-skip-worktree s k; git checkout -q k; git add -A; git write-tree"); got != diff {
		t.Errorf("the report's tree is %s, want %s", got, diff)
	}
}

// A report changes nothing in the repository.
func TestReportReadsOnly(t *testing.T) {
	home, tree, base := newRepository(t)
	sh(t, tree, `echo 2 >>f; echo n >n; git add n; echo u >u; git stash -q; echo 3 >f`)
	state := `find . -type f -printf '%p %s %T@\n' | sort; git for-each-ref; cat .git/index | sha256sum`
	before := sh(t, tree, state)
	ask(t, home, base)
	if after := sh(t, tree, state); after != before {
		t.Errorf("before the report:\n%s\nafter it:\n%s", before, after)
	}
}

// A tree that was given to another user is the workspace all the same.
func TestAnothersTree(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can give files away")
	}
	home, tree, base := newRepository(t)
	sh(t, tree, "echo 2 >f; git commit -qam two; chown -R 65534:65534 .")
	if r := ask(t, home, base); r.Anew || len(r.Refs) != 1 {
		t.Errorf("the report is %+v", r)
	}
}
