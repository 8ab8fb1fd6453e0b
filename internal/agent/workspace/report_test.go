package workspace

import (
	"bufio"
	"bytes"
	"os"
	"strings"
	"testing"

	"banger/internal/shtest"
	"banger/internal/workspace/wire"
)

// sh runs a script with the machine's own git, as a guest would, in dir.
func sh(t *testing.T, dir, script string) string {
	t.Helper()
	return strings.TrimSpace(shtest.Run(t, dir, script))
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
	var out bytes.Buffer
	if err := Report(t.Context(), wire.Question{Path: []byte("repo"), Base: base, Hash: "sha1"}, home, &out); err != nil {
		t.Fatal(err)
	}
	var r wire.Report
	if err := wire.ReadJSON(bufio.NewReader(&out), &r); err != nil || r.Error != "" {
		t.Fatalf("%+v, %v", r, err)
	}
	return r
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

// What took the place of files: a link to a directory with the same files, a FIFO, a
// directory, an ignored link; and what git does not know any more.
func TestReplaced(t *testing.T) {
	home, tree, _ := newRepository(t)
	base := sh(t, tree, `mkdir a i; echo 1 >a/b; echo 1 >i/b; echo p >p; echo d >d; echo u >u; echo x >x; echo /i >.gitignore; git add -f .; git commit -qm two; git rev-parse HEAD`)
	sh(t, tree, `mv a real; ln -s real a; mv i other; ln -s other i; rm p d; mkfifo p; mkdir d; echo new >d/f; git rm -q --cached u; echo u >>.gitignore; rm x; echo 2 >f`)
	want := sh(t, tree, `rm p; cp -p .git/index ../idx; export GIT_INDEX_FILE=../idx; git add -A; git add -f u; git write-tree; rm ../idx; mkfifo p`)
	r := ask(t, home, base)
	if r.Tree != want || r.Anew {
		t.Errorf("the report is %+v, want the tree %s: %s", r, want, sh(t, tree, "git ls-tree -r "+want))
	}
}

// A conflict in the index is what the files are.
func TestConflicts(t *testing.T) {
	home, tree, _ := newRepository(t)
	base := sh(t, tree, `echo g >g; git add g; git commit -qm two; git checkout -q -b side; echo s >f; git rm -q g; git commit -qam side; git checkout -q -; echo m >f; echo m >g; git commit -qam main; git rev-parse HEAD`)
	sh(t, tree, `git merge side || true; rm g`)
	got := ask(t, home, base).Tree
	if want := sh(t, tree, "git add -A; git write-tree"); got != want {
		t.Errorf("the report's tree is %s, want %s", got, want)
	}
}

// A file that is too large is named before it is read; one of LFS's is a pointer to git, and one
// that git ignores stays where it is.
func TestTooLarge(t *testing.T) {
	defer func(n int64) { maxFile = n }(maxFile)
	maxFile = 1000
	home, tree, base := newRepository(t)
	sh(t, tree, `echo ignored >.gitignore; head -c 2000 /dev/zero >ignored`)
	ask(t, home, base)
	sh(t, tree, `echo 'l* filter=lfs' >.gitattributes; head -c 2000 /dev/zero >l`)
	if err := (&looked{own: guestGit(tree)}).refuseLarge(t.Context(), []string{"l"}); err != nil {
		t.Error(err)
	}
	sh(t, tree, `rm l; truncate -s 50G "$(printf 'b\nig')"`)
	var out bytes.Buffer
	if err := Report(t.Context(), wire.Question{Path: []byte("repo"), Base: base, Hash: "sha1"}, home, &out); err != nil {
		t.Fatal(err)
	}
	var r wire.Report
	if err := wire.ReadJSON(bufio.NewReader(&out), &r); err != nil || r.Error != `"b\nig" has 53687091200 bytes: the most is 1000` {
		t.Errorf("the report is %+v, %v", r, err)
	}
}

// A pack holds what is new, not what the base has.
func TestPackIsSmall(t *testing.T) {
	home, tree, _ := newRepository(t)
	base := sh(t, tree, `mkdir d; for i in $(seq 300); do head -c 2000 /dev/urandom >d/$i; done; git add d; git commit -qm two; git rev-parse HEAD; echo 2 >>d/1`)
	var out bytes.Buffer
	if err := Report(t.Context(), wire.Question{Path: []byte("repo"), Base: base, Hash: "sha1"}, home, &out); err != nil {
		t.Fatal(err)
	}
	if n := out.Len(); n > 50_000 {
		t.Errorf("the report of one changed file has %d bytes", n)
	}
}

// A report changes nothing in the repository.
func TestReportReadsOnly(t *testing.T) {
	home, tree, base := newRepository(t)
	sh(t, tree, `echo 2 >>f; echo n >n; git add n; echo u >u; git stash -q; echo 3 >f; git config core.splitIndex true`)
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

// What a report that was killed left, the next one removes.
func TestReportSweeps(t *testing.T) {
	home, tree, base := newRepository(t)
	sh(t, tree, "mkdir -p .git/banger-report-1/objects; echo x >.git/banger-report-1/index")
	ask(t, home, base)
	if left := sh(t, tree, "ls -d .git/banger-report-* 2>/dev/null || true"); left != "" {
		t.Errorf("%s is left", left)
	}
}

// Where the index has a repository that is none any more, files are files.
func TestWasNested(t *testing.T) {
	for name, script := range map[string]string{
		"file":      "rm -r n; echo f >n",
		"directory": "rm -rf n/.git; echo g >n/g",
		"gone":      "rm -r n",
		"empty":     "rm -r n; mkdir n",
		"above":     "rm -r n; mkdir -p n/deeper; echo g >n/deeper/g",
	} {
		t.Run(name, func(t *testing.T) {
			home, tree, base := newRepository(t)
			sh(t, tree, "git init -q n; echo 1 >n/f; git -C n add f; git -C n commit -qm n; git add n; git commit -qm two; "+script)
			got := ask(t, home, base).Tree
			if want := sh(t, tree, "git rm -rq --cached n; git add -A; git write-tree"); got != want {
				t.Errorf("the report's tree is %s, want %s", got, want)
			}
		})
	}
}

// Where the base has a file, an entry of a repository that is none any more is no
// submodule that was not checked out.
func TestWasFile(t *testing.T) {
	home, tree, base := newRepository(t)
	sh(t, tree, "rm f; git init -q f; echo 1 >f/g; git -C f add g; git -C f commit -qm g; git add f; rm -r f; mkdir f")
	got := ask(t, home, base).Tree
	if want := sh(t, tree, "git rm -q --cached f; git write-tree"); got != want {
		t.Errorf("the report's tree is %s, want %s", got, want)
	}
}

// A repository where the index has files comes out as files, and so do those of the base
// that it ignores.
func TestNestedOverFiles(t *testing.T) {
	for name, script := range map[string]string{
		"directory": "cd d; git init -q; echo n >n; echo '*.log' >.gitignore; git add n; git commit -qm n; rm gone; echo 4 >>e/f",
		"file":      "rm f; git init -q f; cd f; echo n >n; git add n; git commit -qm n",
		"staged":    "rm f; git init -q f; cd f; echo n >n; git add n; git commit -qm n; cd ..; git add f; git reset -q",
	} {
		t.Run(name, func(t *testing.T) {
			home, tree, _ := newRepository(t)
			base := sh(t, tree, "mkdir -p d/e; echo 1 >d/e/f; echo 2 >d/kept.log; echo 3 >d/gone; git add .; git commit -qm two; git rev-parse HEAD")
			sh(t, tree, script)
			if got, want := ask(t, home, base).Tree, sh(t, tree, "rm -rf d/.git f/.git; git add -A; git write-tree"); got != want {
				t.Errorf("the report's tree is %s, want %s", got, want)
			}
		})
	}
}

// A commit that no branch is at comes out, though no file changed since the last report.
func TestDetachedCommit(t *testing.T) {
	home, tree, base := newRepository(t)
	sh(t, tree, "git checkout -q --detach; echo 2 >f")
	before := ask(t, home, base)
	sh(t, tree, "git commit -qam two")
	var out bytes.Buffer
	if err := Report(t.Context(), wire.Question{Path: []byte("repo"), Base: base, Hash: "sha1", Tree: before.Tree, Refs: before.Refs}, home, &out); err != nil {
		t.Fatal(err)
	}
	var r wire.Report
	if err := wire.ReadJSON(bufio.NewReader(&out), &r); err != nil {
		t.Fatal(err)
	}
	if r.Head == before.Head || !r.Pack {
		t.Errorf("the report is %+v, without the commit", r)
	}
}

// A directory that was a repository is files of the outer one, which ignores some.
func TestRepositoryNoMore(t *testing.T) {
	home, tree, base := newRepository(t)
	sh(t, tree, `git init -q d; echo 1 >d/f; git -C d add f; git -C d commit -qm x; git add d 2>/dev/null; rm -rf d; mkdir -p d/e; echo k >d/e/keep; echo o >d/x.o; echo '*.o' >.gitignore`)
	r := ask(t, home, base)
	want := sh(t, tree, `git rm -qf --cached d; git add -A; git write-tree`)
	if r.Tree != want || r.Anew {
		t.Errorf("the report is %+v, want the tree %s", r, want)
	}
}
