package lfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"banger/internal/shtest"
)

const (
	oid     = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393"
	pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + oid + "\nsize 12345\n"
)

var texts = map[string]struct {
	text string
	ok   bool
}{
	"ours":               {pointer, true},
	"no last newline":    {strings.TrimSuffix(pointer, "\n"), true},
	"carriage returns":   {strings.ReplaceAll(pointer, "\n", "\r\n"), true},
	"an extension":       {strings.Replace(pointer, "oid", "ext-0-foo sha256:"+oid+"\noid", 1), true},
	"a draft's version":  {strings.Replace(pointer, "git-lfs.github", "hawser.github", 1), true},
	"empty":              {"", false},
	"another version":    {strings.Replace(pointer, "v1", "v9", 1), false},
	"version last":       {strings.Join([]string{"oid sha256:" + oid, "size 1", "version https://git-lfs.github.com/spec/v1", ""}, "\n"), false},
	"out of order":       {"version https://git-lfs.github.com/spec/v1\nsize 1\noid sha256:" + oid + "\n", false},
	"twice":              {pointer + "size 12345\n", false},
	"no size":            {strings.Replace(pointer, "size 12345\n", "", 1), false},
	"no oid":             {"version https://git-lfs.github.com/spec/v1\nsize 1\n", false},
	"another hash":       {strings.Replace(pointer, "sha256", "sha512", 1), false},
	"upper case":         {strings.ToUpper(pointer), false},
	"a short oid":        {strings.Replace(pointer, "4d7a", "4d7", 1), false},
	"a path":             {strings.Replace(pointer, "4d7a", "../a", 1), false},
	"a negative size":    {strings.Replace(pointer, "12345", "-1", 1), false},
	"a size with a zero": {strings.Replace(pointer, "12345", "012345", 1), true},
	"no number":          {strings.Replace(pointer, "12345", "99999999999999999999", 1), false},
	"text":               {"hello\n", false},
	"too long":           {pointer + "z " + strings.Repeat("z", MaxPointer) + "\n", false},
}

func TestParse(t *testing.T) {
	for name, c := range texts {
		p, ok := Parse([]byte(c.text))
		if ok != c.ok {
			t.Errorf("%s: Parse says %v, want %v", name, ok, c.ok)
		}
		if want := (Pointer{oid, 12345}); ok && p != want {
			t.Errorf("%s: Parse = %+v, want %+v", name, p, want)
		}
	}
	if p, _ := Parse([]byte(pointer)); string(p.Text()) != pointer || ObjectPath(p.OID) != "lfs/objects/4d/7a/"+oid {
		t.Errorf("Text = %q, ObjectPath = %q", p.Text(), ObjectPath(p.OID))
	}
}

// What Parse takes can be written and read again, and names a path beneath Objects.
func FuzzParse(f *testing.F) {
	for _, c := range texts {
		f.Add([]byte(c.text))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		p, ok := Parse(in)
		if !ok {
			return
		}
		if again, ok := Parse(p.Text()); !ok || again != p {
			t.Errorf("%q is %+v, written and read again %+v", in, p, again)
		}
		if !filepath.IsLocal(ObjectPath(p.OID)) {
			t.Errorf("%q names the path %q", in, ObjectPath(p.OID))
		}
	})
}

func newFilter(t *testing.T) (*Filter, string) {
	dir := t.TempDir()
	return &Filter{GitDir: func() (string, error) { return dir, nil }}, dir
}

func TestFilter(t *testing.T) {
	f, dir := newFilter(t)
	for _, same := range []string{"", pointer} {
		var out bytes.Buffer
		if err := f.Clean(strings.NewReader(same), &out); err != nil || out.String() != same {
			t.Errorf("Clean(%q) = %q, %v", same, &out, err)
		}
		out.Reset()
		if err := f.Smudge(strings.NewReader(same), &out); err != nil || out.String() != same {
			t.Errorf("Smudge(%q) = %q, %v", same, &out, err)
		}
	}
	for _, n := range []int{1, MaxPointer, MaxPointer + 1, 300_000} {
		content := strings.Repeat("x", n)
		var clean, back bytes.Buffer
		for range 2 {
			clean.Reset()
			if err := f.Clean(strings.NewReader(content), &clean); err != nil {
				t.Fatal(err)
			}
		}
		p, ok := Parse(clean.Bytes())
		if !ok || p.Size != int64(n) {
			t.Errorf("Clean of %d bytes = %q", n, &clean)
		}
		if err := f.Smudge(&clean, &back); err != nil || back.String() != content {
			t.Errorf("Smudge of it gave %d bytes, %v", back.Len(), err)
		}
		if err := f.Smudge(strings.NewReader(content+content), &back); err != nil || back.Len() != 3*n {
			t.Errorf("Smudge of what is no pointer gave %d bytes in all, %v", back.Len(), err)
		}
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "lfs", "tmp")); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
	lost := errors.New("no directory")
	none := &Filter{GitDir: func() (string, error) { return "", lost }, HashOnly: true}
	if err := none.Clean(strings.NewReader("y"), io.Discard); err != nil {
		t.Errorf("a filter that keeps nothing asked for the directory: %v", err)
	}
	if _, err := Open(filepath.Join(dir, ObjectPath(oid)), 12345); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open = %v", err)
	}
}

// What git says to a filter is bounded and refused, whatever it is.
func FuzzProcess(f *testing.F) {
	hello := "0016git-filter-client\n000eversion=2\n0000" + "0015capability=clean\n0000"
	f.Add([]byte(hello + "0012command=clean\n0014pathname=a.bin\n0000" + "0009hello0000"))
	f.Add([]byte(hello + "0013command=smudge\n0000" + fmt.Sprintf("%04x", 4+len(pointer)) + pointer + "0000"))
	f.Add([]byte(hello + "0011command=x\n0000" + "0000"))
	f.Fuzz(func(t *testing.T, in []byte) {
		var out bytes.Buffer
		(&Filter{GitDir: func() (string, error) { return "/nonexistent", nil }, HashOnly: true}).Process(bytes.NewReader(in), &out)
	})
}

// The test binary is the filter that git starts.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == Program {
		if err := Run(context.Background(), os.Args[2:], "", os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	Agent = self
	os.Exit(m.Run())
}

// newRepository makes one whose filter is the test binary, or git-lfs.
func newRepository(t *testing.T, real bool) string {
	t.Helper()
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	dir := filepath.Join(home, "repo")
	sh(t, home, `git config --global user.name U; git config --global user.email u@example.org; git init -q repo; echo '*.bin filter=lfs diff=lfs merge=lfs -text' >repo/.gitattributes`)
	if real {
		sh(t, dir, "git lfs install --local --skip-repo")
		return dir
	}
	config, err := os.OpenFile(filepath.Join(dir, ".git", "config"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer config.Close()
	if _, err := config.WriteString(Config()); err != nil {
		t.Fatal(err)
	}
	return dir
}

var sh = shtest.Run

const manyFiles = `seq 500 | while read n; do head -c $n /dev/zero >$n.bin; echo $n >>$n.bin; done; head -c 2000000 /dev/urandom >big.bin; : >empty.bin; git add .; git commit -qm one`

// A real git, with one process of the filter for all files of a command.
func TestGit(t *testing.T) {
	repo := newRepository(t, false)
	sh(t, repo, manyFiles)
	if out := sh(t, repo, `cp big.bin ../big; rm *.bin; GIT_TRACE=1 git checkout -- . 2>../trace; cmp big.bin ../big; test ! -s empty.bin; git status --porcelain; grep -c 'lfs process' ../trace; git show :big.bin`); !strings.HasPrefix(out, "1\nversion ") {
		t.Errorf("checkout says %s", out)
	}
	// A content that is not there stays a pointer, from another work tree as well.
	sh(t, repo, `rm -r .git/lfs/objects/*; git show :big.bin >../pointer; rm big.bin; git checkout -- big.bin; cmp big.bin ../pointer; test -z "$(git status --porcelain)"
		git worktree add -q ../wt; cd ../wt; cmp big.bin ../pointer; echo other >other.bin; git add .; test -e ../repo/.git/lfs/objects/*/*/$(git show :other.bin | sed -n 's/oid sha256://p')`)
	// One process a file does as well.
	sh(t, repo, `git config --unset filter.lfs.process; echo 2 >2.bin; git add .; git commit -qm two; rm 2.bin; git checkout -- 2.bin; test "$(cat 2.bin)" = 2`)
}

// The real git-lfs makes the same pointers of the same files, and finds what ours
// kept.
func TestRealLFS(t *testing.T) {
	if _, err := exec.LookPath("git-lfs"); err != nil {
		t.Skip("git-lfs is not installed (package git-lfs)")
	}
	ours := newRepository(t, false)
	sh(t, ours, manyFiles)
	dir := filepath.Join(t.TempDir(), "texts")
	for name, c := range texts {
		if name == "too long" {
			continue
		}
		os.MkdirAll(dir, 0o755)
		if err := os.WriteFile(filepath.Join(ours, name+".bin"), []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	sh(t, ours, `git add .; git commit -qm two`)
	real := newRepository(t, true)
	sh(t, real, "cp "+ours+"/*.bin .; git add .")
	sh(t, ours, "git ls-tree -r HEAD >../list")
	if diff := sh(t, real, "git ls-tree -r $(git write-tree) | diff "+filepath.Dir(ours)+"/list - || true"); diff != "" {
		t.Errorf("our tree and git-lfs's:\n%s", diff)
	}
	sh(t, ours, `git config --remove-section filter.lfs; git lfs install --local --skip-repo; git lfs fsck --objects HEAD~1; rm *.bin; git checkout -q HEAD~1 -- .; test $(wc -c <big.bin) = 2000000`)
}
