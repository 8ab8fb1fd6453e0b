package workspace

import (
	"bytes"
	"errors"
	"strings"
	"syscall"
	"testing"
)

// Large files stand in a patch as they are, and git takes none of them into memory. A
// prefix stands before all paths, those of renames too.
func TestLargePatch(t *testing.T) {
	user(t)
	defer func(n int64) { largeFile = n }(largeFile)
	largeFile = 60_000
	const random = "head -c 90001 /dev/urandom"
	for name, c := range map[string]struct{ host, guest string }{
		"new lines": {":", `mkdir d; yes '' | head -c 200000 >d/new; echo small >s`},
		"edited":    {random + " >'a b'; yes | head -c 90001 >f", `printf x >>'a b'; chmod +x 'a b'; echo 1 >>f`},
		"gone":      {random + " >f", "rm f; mkdir f; echo x >f/x"},
		"appeared":  {"mkdir f; echo x >f/x", "rm -r f; " + random + " >f"},
		"shrunk":    {random + " >f", "head -c 60000 f >g; mv g f"},
		"small":     {"echo x >g", "git mv g h"},
		"renamed":   {random + " >f; echo x >g", `git mv f "$(printf 'n\n\374')"; git mv g h`},
		"modes":     {random + " >f", "chmod +x f"},
		"a link":    {random + " >f", "rm f; ln -s g f"},
		"was one":   {"ln -s g f", "rm f; " + random + " >f"},
		"a module":  {random + " >f", "rm f; git init -q f; echo 1 >f/g"},
	} {
		t.Run(name, func(t *testing.T) {
			repo := t.TempDir()
			sh(t, repo, `git init -q; echo one >one; `+c.host+`; git add .; git commit -qm one`)
			s, w := imported(t, repo, c.guest)
			for _, at := range []string{"", "sub/dir"} {
				var patch bytes.Buffer
				if err := s.Patch(t.Context(), &patch, w, PatchOptions{Prefix: at}); err != nil {
					t.Fatal(err)
				}
				strip := "-p1"
				if at != "" {
					strip = "-p3"
				}
				for _, want := range []string{w.Tree, strings.TrimSpace(sh(t, repo, "git rev-parse HEAD^{tree}"))} {
					if err := plainGit(t, repo, patch.Bytes(), "apply", "--index", strip); err != nil {
						t.Fatalf("git apply %s: %v\n%.2000s", strip, err, &patch)
					}
					if got := strings.TrimSpace(sh(t, repo, "git write-tree")); got != want {
						t.Errorf("the tree after git apply %s is %s, want %s", strip, got, want)
					}
					strip = "-R" + strings.TrimPrefix(strip, "-") // taken back
					if at != "" {
						strip = "-Rp3"
					}
				}
			}
		})
	}
}

// A submodule in whose directory a large file is now goes with it.
func TestLargeOverSubmodule(t *testing.T) {
	user(t)
	defer func(n int64) { largeFile = n }(largeFile)
	largeFile = 60_000
	dir := t.TempDir()
	sh(t, dir, `git init -q; git init -q f/m; git -C f/m commit -q --allow-empty -m m; git add f 2>/dev/null; git commit -qm one
		rm -rf f; head -c 90001 /dev/urandom >f; git rm -rq --cached f; git add f; git commit -qm two; cp -r .git git; git checkout -q HEAD~1`)
	s := Store{Dir: dir}
	list, err := s.largeChanges(t.Context(), "main~1", "main", nil)
	if err != nil || len(list) != 2 {
		t.Fatalf("largeChanges = %v, %v", list, err)
	}
	var patch bytes.Buffer
	for _, c := range list {
		if err := s.writeLarge(t.Context(), &patch, c, "", FormPatch); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"apply", "--cached"}, {"diff-index", "--cached", "--exit-code", "main"}, {"apply", "--cached", "-R"}, {"diff-index", "--cached", "--exit-code", "main~1"}} {
		if err := plainGit(t, dir, patch.Bytes(), args...); err != nil {
			t.Errorf("git %q: %v", args, err)
		}
	}
}

// What git would need more memory for than it may have is an error; of a large file
// nothing does.
func TestMemoryIsBounded(t *testing.T) {
	user(t)
	repo := t.TempDir()
	sh(t, repo, `git init -q; echo 1 >f; git add f; git commit -qm one`)
	s, w := imported(t, repo, `truncate -s 300M f`)
	i, err := s.Info()
	if err != nil {
		t.Fatal(err)
	}
	g := s.git()
	if g.Memory != guestMemory {
		t.Errorf("the memory of the store's git is %d", g.Memory)
	}
	g.Memory = 200 << 20
	if _, err := g.Run(t.Context(), nil, "diff-tree", "-p", "--binary", i.Base, w.Tree); !errors.Is(err, syscall.ENOMEM) {
		t.Errorf("git diff-tree of 300 MiB: %v, want ENOMEM", err)
	}
	for form, want := range map[Form]string{
		FormStat: "f | Bin 2 -> 314572800 bytes", FormRead: "Binary files a/f and b/f differ", FormPatch: "literal 314572800",
	} {
		var out bytes.Buffer
		if err := s.Patch(t.Context(), &out, w, PatchOptions{Form: form}); err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("as %s: %.1000s, %v", form, &out, err)
		}
	}
}
