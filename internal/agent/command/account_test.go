package command

import (
	"debug/elf"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"banger/internal/channel/exec"
)

// write makes a file of that text in a directory of the test's.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestG1FindAccount(t *testing.T) {
	passwd := write(t, "passwd", "root:x:0:0::/root:/bin/bash\nbroken:x:1\nalice:x:1000:1001::/home/alice:/bin/zsh\nbare:x:1002:1002:::\n1003:x:7:7::/seven:/bin/sh\n")
	group := write(t, "group", "root:x:0:\nstaff:x:50:bob,alice\nalice:x:1001:alice\nbroken\n")
	for spec, want := range map[string]account{
		"":           {name: "root", home: "/root", shell: "/bin/sh", own: true}, // no such shell here
		"root":       {name: "root", home: "/root", shell: "/bin/bash", groups: []uint32{0}},
		"alice":      {name: "alice", home: "/home/alice", shell: "/bin/zsh", uid: 1000, gid: 1001, groups: []uint32{1001, 50}},
		"1000":       {name: "alice", home: "/home/alice", shell: "/bin/zsh", uid: 1000, gid: 1001, groups: []uint32{1001, 50}},
		"alice:50":   {name: "alice", home: "/home/alice", shell: "/bin/zsh", uid: 1000, gid: 50},
		"0:staff":    {name: "root", home: "/root", shell: "/bin/bash", gid: 50},
		"alice:4711": {name: "alice", home: "/home/alice", shell: "/bin/zsh", uid: 1000, gid: 4711},
		"bare":       {name: "bare", home: "/", shell: "/bin/sh", uid: 1002, gid: 1002, groups: []uint32{1002}},
		"4242":       {name: "4242", home: "/", shell: "/bin/sh", uid: 4242, groups: []uint32{0}},
	} {
		got, err := findAccount(passwd, group, spec)
		if spec == "" {
			got.shell = want.shell
		}
		if d := cmp.Diff(want, got, cmp.AllowUnexported(account{})); d != "" || err != nil {
			t.Errorf("findAccount(%q): %v (-want +got):\n%s", spec, err, d)
		}
	}
	for _, spec := range []string{"nobody", "alice:nosuch", "broken", ":staff", "-1", "99999999999"} {
		if got, err := findAccount(passwd, group, spec); err == nil {
			t.Errorf("findAccount(%q) = %+v, want an error", spec, got)
		}
	}
}

// A command of another user has that user's rights and environment, and is at home
// where it can't enter what was only a proposal.
func TestG1User(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can become another user")
	}
	nobody, err := findAccount(passwdFile, groupFile, "nobody")
	if err != nil {
		t.Skip(err)
	}
	closed := t.TempDir()
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	at := nobody.home
	if nobody.enter(at) != nil {
		at = "/"
	}
	run := func(name, dir string, orHome bool, want func(t *testing.T, got exec.Status, out string)) {
		t.Run(name, func(t *testing.T) {
			req := sh(`id -u; id -g; id -G; echo $USER $HOME; pwd`)
			req.User, req.Dir, req.OrHome = "nobody", []byte(dir), orHome
			c := open(t, req)
			got := c.end(t)
			want(t, got, string(c.stdout))
		})
	}
	run("home", closed, true, func(t *testing.T, got exec.Status, out string) {
		if got.Code != 0 || !strings.HasSuffix(out, "nobody "+nobody.home+"\n"+at+"\n") || strings.HasPrefix(out, "0\n") {
			t.Errorf("status = %+v, output %q; want nobody, in %s", got, out, at)
		}
	})
	run("closed", closed, false, func(t *testing.T, got exec.Status, _ string) {
		if got.Kind != exec.Failed || !strings.HasPrefix(got.Message, "enter working directory "+closed+" as nobody: permission denied") {
			t.Errorf("status = %+v, want a refusal that names the directory", got)
		}
	})
	run("open", "/usr", true, func(t *testing.T, got exec.Status, out string) {
		if !strings.HasSuffix(out, "\n/usr\n") {
			t.Errorf("status = %+v, output %q; want it in /usr", got, out)
		}
	})
}

func TestG1LoginVariables(t *testing.T) {
	first := write(t, "environment", "# comment\n\nPATH=\"/x:/y\"\nexport A='b c'\n B = d \nnot a pair\n=none\nQ=\"a\n")
	second := write(t, "locale", "LANG=de_DE.UTF-8\nA=2\n")
	want := []string{"PATH=/x:/y", "A=2", "B=d", "Q=\"a", "LANG=de_DE.UTF-8"}
	if d := cmp.Diff(want, loginVariables(first, "/no/such/file", second)); d != "" {
		t.Errorf("loginVariables (-want +got):\n%s", d)
	}
}

func TestG1RuntimeVariables(t *testing.T) {
	dirs := t.TempDir()
	own := filepath.Join(dirs, "4711")
	if got := runtimeVariables(dirs, 4711); got != nil {
		t.Errorf("without a directory: %q", got)
	}
	if err := os.Mkdir(own, 0o700); err != nil {
		t.Fatal(err)
	}
	if got := runtimeVariables(dirs, 4711); os.Getuid() != 4711 && got != nil {
		t.Errorf("with another user's directory: %q", got)
	}
	me := filepath.Join(dirs, "me")
	if err := os.Rename(own, me); err != nil {
		t.Fatal(err)
	}
	uid := uint32(os.Getuid())
	mine := filepath.Join(dirs, strconv.FormatUint(uint64(uid), 10))
	if err := os.Rename(me, mine); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"XDG_RUNTIME_DIR=" + mine}, runtimeVariables(dirs, uid)); d != "" {
		t.Errorf("with one's own directory (-want +got):\n%s", d)
	}
}

// A program of another C library names the interpreter that is not there.
func TestG1MissingInterpreter(t *testing.T) {
	text, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.Open("/bin/sh")
	if err != nil {
		t.Skip(err)
	}
	defer f.Close()
	changed := false
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			copy(text[p.Off:], "/no/")
			changed = true
		}
	}
	if !changed {
		t.Skip("/bin/sh has no interpreter")
	}
	path := write(t, "sh", string(text))
	got := open(t, exec.Request{Argv: exec.Args(path)}).end(t)
	if got.Kind != exec.NotExecutable || !strings.Contains(got.Message, `its interpreter "/no/`) || !strings.HasSuffix(got.Message, "another C library or another machine") {
		t.Errorf("status = %+v, want the interpreter named", got)
	}
	if err := missing("/no/such/program", fs.ErrNotExist); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing of what is not there = %v", err)
	}
}
