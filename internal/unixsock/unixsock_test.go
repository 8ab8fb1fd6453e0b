package unixsock

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
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
