package command

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"banger/internal/channel/exec"
)

func TestEnvironment(t *testing.T) {
	who := account{name: "root", home: "/root", shell: "/bin/sh", own: true}
	env := environment(exec.Request{Env: exec.Args("PATH=/x", "A=1", "A=2", "B=", "=c", "d")}, who, []string{"LANG=C", "A=0"})
	for key, want := range map[string]string{"PATH": "/x", "A": "2", "B": "", "LANG": "C", "USER": "root", "C": ""} {
		if got := getenv(env, key); got != want {
			t.Errorf("%s = %q, want %q", key, got, want)
		}
	}
	seen := map[string]int{}
	for _, e := range env {
		seen[e]++
	}
	if seen["A=1"] != 0 || seen["d"] != 0 || seen["=c"] != 0 {
		t.Errorf("environment = %q", env)
	}
}

func TestRootUser(t *testing.T) {
	for name, c := range map[string]struct{ text, home, shell string }{
		"usual":          {"root:x:0:0:root:/home/r:/bin/sh\n", "/home/r", "/bin/sh"},
		"not first":      {"daemon:x:1:1::/:/bin/false\ntoor:x:0:0::/r:/bin/sh\n", "/r", "/bin/sh"},
		"shell is gone":  {"root:x:0:0:root:/root:/no/such/shell\n", "/root", "/bin/sh"},
		"empty fields":   {"root:x:0:0:::\n", "/root", "/bin/sh"},
		"too few fields": {"root:x:0\n", "/root", "/bin/sh"},
		"empty":          {"", "/root", "/bin/sh"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "passwd")
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			home, shell := rootUser(path)
			if d := cmp.Diff([]string{c.home, c.shell}, []string{home, shell}); d != "" {
				t.Errorf("rootUser(%q) (-want +got):\n%s", c.text, d)
			}
		})
	}
	if home, shell := rootUser("/no/such/passwd"); home != "/root" || shell != "/bin/sh" {
		t.Errorf("rootUser without a file = %q, %q", home, shell)
	}
}

func TestLookPath(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]fs.FileMode{"a/prog": 0o755, "a/plain": 0o644, "b/plain": 0o755, "b/late": 0o755} {
		path := filepath.Join(dir, name)
		os.MkdirAll(filepath.Dir(path), 0o755)
		if err := os.WriteFile(path, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	os.Mkdir(filepath.Join(dir, "a/late"), 0o755) // a directory is passed over
	path := filepath.Join(dir, "a") + ":" + filepath.Join(dir, "b")
	for _, c := range []struct {
		name, path string
		want       string // below dir
		err        error
	}{
		{"prog", path, "a/prog", nil},
		{"plain", path, "b/plain", nil},
		{"late", path, "b/late", nil},
		{"plain", filepath.Join(dir, "a"), "", fs.ErrPermission},
		{"none", path, "", fs.ErrNotExist},
		{"", path, "", fs.ErrNotExist},
		{"a/prog", "", "a/prog", nil},
		{"./a/plain", "", "a/plain", fs.ErrPermission},
		{"a", path, "", fs.ErrNotExist},
		{"a/", path, "a", syscall.EISDIR},
		{"a/none", "", "a/none", fs.ErrNotExist},
		{"a/prog", ":", "a/prog", nil},
	} {
		want := ""
		if c.want != "" {
			want = filepath.Join(dir, c.want)
		}
		got, err := lookPath(c.name, c.path, dir)
		if got != want || !errors.Is(err, c.err) {
			t.Errorf("lookPath(%q, %q) = %q, %v; want %q, %v", c.name, c.path, got, err, want, c.err)
		}
	}
}
