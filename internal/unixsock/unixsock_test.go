package unixsock

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"banger/internal/hint"
)

func TestAnyLength(t *testing.T) {
	for _, n := range []int{1, 120, 250} {
		dir := filepath.Join(t.TempDir(), strings.Repeat("d", n))
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "s.sock")
		l, err := Listen(path)
		if err != nil {
			t.Fatalf("Listen on %d bytes: %v", len(path), err)
		}
		if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("socket is %v, %v; want mode 0600", fi, err)
		}
		accepted := make(chan *net.UnixConn, 1)
		go func() { // ends with the one connection
			c, _ := l.AcceptUnix()
			accepted <- c
		}()
		c, err := Dial(context.Background(), path)
		if err != nil {
			t.Fatalf("Dial of %d bytes: %v", len(path), err)
		}
		s := <-accepted
		cred, err := Peer(s)
		if err != nil || int(cred.Pid) != os.Getpid() || int(cred.Uid) != os.Getuid() {
			t.Errorf("Peer = %+v, %v; want this process", cred, err)
		}
		c.Write([]byte("x"))
		c.Close()
		if b, err := io.ReadAll(s); string(b) != "x" || err != nil {
			t.Errorf("read %q, %v; want x", b, err)
		}
		s.Close()
		l.Close()
		if _, err := os.Stat(path); err != nil {
			t.Errorf("closing the listener removed the file: %v", err)
		}
		if _, err := Listen(path); err == nil {
			t.Error("Listen took a path that was there")
		}
	}
}

func TestDialErrorNamesThePath(t *testing.T) {
	path := filepath.Join(t.TempDir(), strings.Repeat("x", 130), "none.sock")
	if _, err := Dial(context.Background(), path); err == nil || !strings.Contains(err.Error(), filepath.Dir(path)) {
		t.Errorf("Dial of a missing path: %v, want an error that names it", err)
	}
}

func TestListenFresh(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	first, err := ListenFresh(path)
	if err != nil {
		t.Fatalf("ListenFresh where nothing is: %v", err)
	}
	if l, err := ListenFresh(path); !errors.Is(err, ErrInUse) {
		t.Errorf("ListenFresh on a live socket = %v, %v; want ErrInUse", l, err)
	}
	if c, err := Dial(context.Background(), path); err != nil {
		t.Errorf("the live socket was taken away: %v", err)
	} else {
		c.Close()
	}
	first.Close() // its file stays, as after a crash
	second, err := ListenFresh(path)
	if err != nil {
		t.Fatalf("ListenFresh on a dead socket: %v", err)
	}
	defer second.Close()
	file := filepath.Join(dir, "file")
	os.WriteFile(file, []byte("precious"), 0o600)
	os.Symlink(path, filepath.Join(dir, "link"))
	os.Mkdir(filepath.Join(dir, "d"), 0o700)
	for _, name := range []string{"file", "link", "d"} {
		if _, err := ListenFresh(filepath.Join(dir, name)); err == nil || errors.Is(err, ErrInUse) {
			t.Errorf("ListenFresh on a %s: %v, want an error of its own", name, err)
		}
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			t.Errorf("ListenFresh took the %s away: %v", name, err)
		}
	}
}

// A listener that does not accept is slow, not gone.
func TestListenFreshSparesAFullQueue(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	for range 4 { // more than the queue takes
		if c, err := Dial(context.Background(), path); err == nil {
			defer c.Close()
		}
	}
	if l, err := ListenFresh(path); !errors.Is(err, ErrInUse) {
		t.Errorf("ListenFresh on a full queue = %v, %v; want ErrInUse", l, err)
	}
}

func TestImpossiblePaths(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{"", "/", dir + "/", dir + "/a\x00b", filepath.Join(dir, strings.Repeat("x", 120)), filepath.Join(dir, "none", "s"), "/proc/s"} {
		if l, err := Listen(path); err == nil {
			l.Close()
			t.Errorf("Listen(%q): no error", path)
		}
		if c, err := Dial(context.Background(), path); err == nil {
			c.Close()
			t.Errorf("Dial(%q): no error", path)
		}
	}
	t.Chdir(dir)
	l, err := Listen("@s") // a file, not an abstract socket
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := os.Stat("@s"); err != nil {
		t.Errorf("Listen on a name with @ made no file: %v", err)
	}
	err = explain(&net.OpError{Op: "listen", Err: os.NewSyscallError("bind", unix.EPERM)}, "/mnt/fat/s")
	if !strings.Contains(err.Error(), `"/mnt/fat"`) || hint.Of(err) == "" || !errors.Is(err, unix.EPERM) {
		t.Errorf("a file system without sockets: %v (hint %q)", err, hint.Of(err))
	}
}

func TestOnlyTheSameUser(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := DialOwn(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	defer func(f func() int) { ownUID = f }(ownUID)
	own := os.Geteuid()
	ownUID = func() int { return 4711 }
	var stranger *StrangerError
	if _, err := DialOwn(t.Context(), path); !errors.As(err, &stranger) || stranger.UID != own || !strings.Contains(err.Error(), "uid 4711") {
		t.Errorf("DialOwn of another user's server: %v; want a *StrangerError with both users", err)
	}
	if _, err := DialOwn(t.Context(), path+"none"); errors.As(err, &stranger) || err == nil {
		t.Errorf("DialOwn of no socket: %v; want a dial's error", err)
	}
}
