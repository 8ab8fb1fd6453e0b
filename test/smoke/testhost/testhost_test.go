package testhost

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestLine holds what the login shell gets to what it makes of it.
func TestLine(t *testing.T) {
	for _, c := range []struct {
		command Command
		out     string
		status  int
	}{
		{Command{Args: []string{"printf", "<%s>", "a b", "", "it's", `$HOME "x" *`}}, `<a b><><it's><$HOME "x" *>`, 0},
		{Command{Args: []string{"sh", "-c", "exit 42"}}, "", 42},
		{Command{Args: []string{"sh", "-c", "exit 255"}}, "", insteadOf},
		{Command{Args: []string{"sh", "-c", "kill -9 $$"}}, "", 137},
		{Command{Args: []string{"sh", "-c", `printf %s "$A$B"`}, Env: []string{"A=x y", "B='"}}, "x y'", 0},
		{Command{Args: []string{"pwd"}, Dir: "/usr/bin"}, "/usr/bin\n", 0},
		{Command{Args: []string{"true"}, Dir: "/no such"}, "", 1},
	} {
		cmd := exec.Command("bash", "-c", line(c.command))
		out, _ := cmd.Output()
		if status := cmd.ProcessState.ExitCode(); string(out) != c.out || status != c.status {
			t.Errorf("%+v: got %q, %d; want %q, %d", c.command, out, status, c.out, c.status)
		}
	}
}

// TestConsole counts boots whatever the pieces are in which lines come.
func TestConsole(t *testing.T) {
	c := newConsole()
	select {
	case <-c.ready(1):
		t.Fatal("ready(1): it has not booted")
	default:
	}
	r, w := io.Pipe()
	go func() {
		for _, b := range []byte("kernel\r\n" + readyLine + "\r\nother\n" + readyLine + "\n" + readyLine[:8]) {
			w.Write([]byte{b})
		}
		w.Close()
	}()
	c.read(r)
	<-c.ready(1)
	<-c.ready(2)
	if n := c.boots(); n != 2 {
		t.Errorf("boots: got %d, want 2", n)
	}
	c.add(bytes.Repeat([]byte("x"), 5*maxConsole))
	if n := len(c.tail()); n > maxConsole {
		t.Errorf("tail: %d bytes, want at most %d", n, maxConsole)
	}
}

// TestHand holds what is handed in to its names and owners.
func TestHand(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"ssh/host_key": "secret", "in/a/b": "b", "program": "p"} {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("a/b", filepath.Join(dir, "in", "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("program", filepath.Join(dir, "named")); err != nil {
		t.Fatal(err)
	}
	h := Hand{"ssh": filepath.Join(dir, "ssh"), "in": filepath.Join(dir, "in"), "bin/p": filepath.Join(dir, "named")}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := h.pack(w); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var got []string
	r := tar.NewReader(&b)
	for {
		e, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		owner := User
		if e.Uid == 0 {
			owner = Root
		}
		got = append(got, strings.TrimSpace(e.Name+" "+owner+" "+e.Linkname))
	}
	want := "./ root,bin/ user,bin/p user,in/ user,in/a/ user,in/a/b user,in/link user a/b,ssh/ root,ssh/host_key root"
	if g := strings.Join(got, ","); g != want {
		t.Errorf("pack gave\n%s\nwant\n%s", g, want)
	}
}
