package landlock

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The test binary restricts itself to what its arguments say and then tries.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "restricted" {
		restricted(os.Args[2], os.Args[3], os.Args[4:])
	}
	os.Exit(m.Run())
}

// restricted may read in readable and write in writable, and says how what it
// tries ends: "verb path" to "verb errno".
func restricted(readable, writable string, try []string) {
	a := Access{Read: []string{readable, "/nonexistent", "/etc/passwd/x"}, Write: []string{writable}}
	if err := a.Restrict(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for _, t := range try {
		verb, path, _ := strings.Cut(t, " ")
		var err error
		switch verb {
		case "read":
			_, err = os.ReadFile(path)
		case "list":
			_, err = os.ReadDir(path)
		case "write":
			var f *os.File
			if f, err = os.OpenFile(path, os.O_WRONLY, 0); err == nil {
				f.Close()
			}
		case "make":
			err = os.WriteFile(path, nil, 0o600)
		case "truncate":
			err = os.Truncate(path, 0)
		case "remove":
			err = os.Remove(path)
		case "execute":
			err = exec.Command(path).Run()
		case "listen":
			var l net.Listener
			if l, err = net.Listen("unix", path); err == nil {
				l.Close()
			}
		case "tcp":
			var c net.Conn
			if c, err = net.Dial("tcp", path); err == nil {
				c.Close()
			}
		}
		var number syscall.Errno
		if errors.As(err, &number) {
			err = number
		}
		fmt.Printf("%s %v\n", verb, err)
	}
	syscall.Exit(0) // os.Exit would write counters of coverage, where it may not
}

// need skips where this kernel has no Landlock of that ABI.
func need(t *testing.T, abi int) {
	t.Helper()
	if have, err := Version(); have < abi {
		t.Skipf("this needs Landlock's ABI %d, the kernel has %d (%v)", abi, have, err)
	}
}

func TestRestrict(t *testing.T) {
	need(t, 1)
	dir := t.TempDir()
	for _, name := range []string{"r/f", "w/f", "w/g", "out/f"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(dir+"/out/f", dir+"/w/link"); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const denied = "permission denied"
	for _, c := range []struct {
		abi       int
		try, what string
	}{
		{1, "read " + dir + "/r/f", "<nil>"},
		{1, "list " + dir + "/r", "<nil>"},
		{1, "write " + dir + "/r/f", denied},
		{1, "make " + dir + "/r/new", denied},
		{1, "remove " + dir + "/r/f", denied},
		{1, "execute " + dir + "/r/f", denied},
		{3, "truncate " + dir + "/r/f", denied},
		{1, "read " + dir + "/w/f", "<nil>"},
		{1, "write " + dir + "/w/f", "<nil>"},
		{1, "truncate " + dir + "/w/f", "<nil>"},
		{1, "make " + dir + "/w/new", "<nil>"},
		{1, "remove " + dir + "/w/g", "<nil>"},
		{1, "listen " + dir + "/w/socket", "<nil>"},
		{1, "execute " + dir + "/w/f", denied},
		{1, "read " + dir + "/w/link", denied},
		{1, "read " + dir + "/out/f", denied},
		{1, "list " + dir + "/out", denied},
		{1, "list " + dir, denied},
		{3, "truncate " + dir + "/out/f", denied},
		{1, "read /etc/passwd", denied},
		{1, "execute /bin/true", denied},
		{1, "read " + dir + "/out/none", "no such file or directory"},
		{4, "tcp " + l.Addr().String(), denied},
	} {
		t.Run(strings.ReplaceAll(c.try, dir, ""), func(t *testing.T) {
			need(t, c.abi)
			cmd := exec.Command(os.Args[0], "restricted", dir+"/r", dir+"/w", c.try)
			cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0") // else it waits a second
			out, err := cmd.CombinedOutput()
			verb, _, _ := strings.Cut(c.try, " ")
			if want := verb + " " + c.what + "\n"; err != nil || string(out) != want {
				t.Errorf("%s: %q, %v; want %q", c.try, out, err, want)
			}
		})
	}
}

func TestGaps(t *testing.T) {
	for _, c := range []struct {
		abi  int
		why  error
		kept Kept
		want string
	}{
		{0, errors.New("none"), Kept{}, "none: a VMM can open all of your files"},
		{1, nil, Kept{}, "this kernel's Landlock (ABI 1) leaves it to a VMM to empty your files, use TCP, signal your processes, connect to your Unix sockets, use UDP"},
		{2, nil, Kept{true, true}, "this kernel's Landlock (ABI 2) leaves it to a VMM to empty your files, signal your processes"},
		{7, nil, Kept{}, "this kernel's Landlock (ABI 7) leaves it to a VMM to connect to your Unix sockets, use UDP"},
		{7, nil, Kept{Network: true}, "this kernel's Landlock (ABI 7) leaves it to a VMM to connect to your Unix sockets"},
		{7, nil, Kept{true, true}, ""},
		{10, nil, Kept{}, ""},
		{99, nil, Kept{}, ""},
	} {
		if got := strings.Join(GapsOf(c.abi, c.why, c.kept), "\n"); got != c.want {
			t.Errorf("GapsOf(%d, %v, %+v) = %q, want %q", c.abi, c.why, c.kept, got, c.want)
		}
	}
}
