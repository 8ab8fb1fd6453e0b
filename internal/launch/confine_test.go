package launch

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"banger/internal/landlock"
)

func needLandlock(t *testing.T) {
	t.Helper()
	if v, err := landlock.Version(); v == 0 {
		t.Skip(err)
	}
}

// The launcher restricts its threads; the program is one of them after the exec.
func TestAccessHoldsInTheProgram(t *testing.T) {
	needLandlock(t)
	dir := t.TempDir()
	for _, name := range []string{"in", "out"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cat := func(path string) (string, bool) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		c, err := Start(os.Args[0], Spec{
			Path: "/bin/cat", Args: []string{path}, Stdout: w, Stderr: w,
			Access: &landlock.Access{Read: []string{"/lib", "/lib64", "/usr/lib", "/etc/ld.so.cache", dir + "/in", dir + "/not there"}},
		})
		w.Close()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		<-c.Done()
		if got := c.Gaps(); !slices.Equal(got, landlock.Gaps(landlock.Kept{})) {
			t.Errorf("Gaps() = %q, want what this kernel lacks: %q", got, landlock.Gaps(landlock.Kept{}))
		}
		return string(text), c.State().Success()
	}
	if text, ok := cat(dir + "/in"); text != "in" || !ok {
		t.Errorf("reading a listed file: %q, success %v", text, ok)
	}
	if text, ok := cat(dir + "/out"); !strings.Contains(text, "ermission denied") || ok {
		t.Errorf("reading another file: %q, success %v, want permission denied", text, ok)
	}
	if text, ok := cat("/proc/self/status"); ok {
		t.Errorf("reading what is not listed: %q", text)
	}
}

// A program is executed with its loader though neither is listed, and it sets
// no_new_privs by itself.
func TestAccessNeedsNoMentionOfTheProgram(t *testing.T) {
	needLandlock(t)
	got := output(t, Spec{Path: "/bin/cat", Args: []string{"/proc/self/status"},
		Access: &landlock.Access{Read: []string{"/usr/lib", "/lib", "/lib64", "/proc"}}})
	if !strings.Contains(got, "NoNewPrivs:\t1\n") {
		t.Errorf("/proc/self/status is %q, want NoNewPrivs 1", got)
	}
	c, _ := start(t, Spec{Path: "/bin/sh", Args: []string{"-c", "exec /bin/true"},
		Access: &landlock.Access{Read: []string{"/usr", "/lib", "/lib64"}}})
	<-c.Done()
	if c.State().ExitCode() != 126 {
		t.Errorf("a program that executes another one ended with %v, want status 126", c.State())
	}
}

func TestNoCoreAndCutLimits(t *testing.T) {
	got := output(t, Spec{Path: "/bin/sh", Args: []string{"-c", "ulimit -Sc; ulimit -Hc"}, NoCore: true})
	if got != "0\n0" {
		t.Errorf("limits of core files are %q, want 0 and 0", got)
	}
	want := output(t, Spec{Path: "/bin/sh", Args: []string{"-c", "ulimit -Hn"}})
	if got := output(t, Spec{Path: "/bin/sh", Args: []string{"-c", "ulimit -Hn"}, MaxOpenFiles: 1 << 40}); got != want {
		t.Errorf("a limit above the starter's is %s, want the starter's %s", got, want)
	}
}

func TestStatus(t *testing.T) {
	for _, c := range []struct {
		said, err string
		gaps      []string
	}{
		{"", errSilent.Error(), nil},
		{"executing\n", "", nil},
		{"gap: a\ngap: b c\nexecuting\n", "", []string{"a", "b c"}},
		{"gap: a\nexecuting\nexecute: no\n", "execute: no", nil},
		{"gap: a\n", errSilent.Error(), nil},
		{"gap: a", errSilent.Error(), nil},
		{"chdir /gap: no\n", "chdir /gap: no", nil},
	} {
		gaps, err := status(strings.NewReader(c.said))
		if c.err != "" && (err == nil || err.Error() != c.err) || !slices.Equal(gaps, c.gaps) {
			t.Errorf("status(%q) = %q, %v; want %q, %q", c.said, gaps, err, c.gaps, c.err)
		}
	}
}

// A program keeps the sockets that it inherits and makes no others than it may;
// what Landlock can't do about sockets is then no gap.
func TestSockets(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const denied = "operation not permitted"
	for sockets, want := range map[Sockets]string{
		AnySockets:  "tcp: <nil>\nunix: no such file or directory\n",
		UnixSockets: "tcp: " + denied + "\nunix: no such file or directory\nio_uring: " + denied + "\n",
		NoSockets:   "tcp: " + denied + "\nunix: " + denied + "\nio_uring: " + denied + "\n",
	} {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
		defer ours.Close()
		c, r := start(t, Spec{Path: os.Args[0], Args: []string{"sockets", l.Addr().String()}, Files: []*os.File{theirs}, Sockets: sockets})
		theirs.Close()
		if c.Gaps() != nil {
			t.Errorf("sockets %d: Gaps() = %q, want none", sockets, c.Gaps())
		}
		if text, err := io.ReadAll(ours); err != nil || string(text) != "inherited" {
			t.Errorf("sockets %d: an inherited one brought %q, %v", sockets, text, err)
		}
		said, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		// A kernel may have no io_uring for anybody.
		if !strings.HasPrefix(string(said), want) {
			t.Errorf("sockets %d: the program says %q, want %q", sockets, said, want)
		}
		<-c.Done()
	}
	for sockets, kept := range map[Sockets]landlock.Kept{UnixSockets: {Network: true}, NoSockets: {Network: true, Unix: true}} {
		c, _ := start(t, Spec{Path: "/bin/true", Sockets: sockets, Access: &landlock.Access{Read: []string{"/usr/lib", "/lib", "/lib64"}}})
		<-c.Done()
		if got, want := c.Gaps(), landlock.Gaps(kept); !slices.Equal(got, want) {
			t.Errorf("sockets %d: Gaps() = %q, want %q", sockets, got, want)
		}
	}
}

// trySockets is the program of TestSockets.
func trySockets(address string) {
	os.NewFile(firstFile, "inherited").WriteString("inherited")
	errno := func(err error) error {
		var number syscall.Errno
		if errors.As(err, &number) {
			return number
		}
		return err
	}
	_, err := net.Dial("tcp", address)
	fmt.Println("tcp:", errno(err))
	_, err = net.Dial("unix", "/nonexistent")
	fmt.Println("unix:", errno(err))
	var params [120]byte // struct io_uring_params
	_, _, e := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params)), 0)
	fmt.Println("io_uring:", e)
	os.Exit(0)
}
