package cli

import (
	"bufio"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"banger/internal/workspace"
)

// A file is written as a shell would: through a link, into a pipe or a device, and with
// the user's own mode; but whole, or not at all, and with nothing beside it meanwhile.
func TestToFile(t *testing.T) {
	a, _ := newApp(t)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	defer unix.Umask(unix.Umask(0o027))
	if err := errors.Join(os.WriteFile(at("file"), nil, 0o600), os.Symlink("file", at("link")), unix.Mkfifo(at("fifo"), 0o600)); err != nil {
		t.Fatal(err)
	}
	text := func(w io.Writer) error {
		if list, err := os.ReadDir(dir); err != nil || len(list) > 3 {
			t.Errorf("while it is written there are %v, %v", list, err)
		}
		_, err := io.WriteString(w, "text")
		return err
	}
	for range 2 {
		if err := a.toFile(at("link"), text); err != nil {
			t.Fatal(err)
		}
	}
	if fi, err := os.Lstat(at("file")); err != nil || fi.Mode() != 0o640 {
		t.Errorf("the link's target is %v, %v; want a file of mode 0640", fi, err)
	}
	if fi, err := os.Lstat(at("link")); err != nil || fi.Mode().Type() != os.ModeSymlink {
		t.Errorf("the link is %v, %v", fi, err)
	}
	broken := errors.New("broken")
	if err := a.toFile(at("file"), func(w io.Writer) error { io.WriteString(w, "half"); return broken }); !errors.Is(err, broken) {
		t.Errorf("toFile = %v, want broken", err)
	}
	if got, err := os.ReadFile(at("file")); string(got) != "text" {
		t.Errorf("the file holds %q, %v", got, err)
	}
	read := make(chan string, 1)
	go func() { // ends with the one who writes
		got, _ := os.ReadFile(at("fifo"))
		read <- string(got)
	}()
	if err := a.toFile(at("fifo"), text); err != nil {
		t.Fatal(err)
	}
	if got := <-read; got != "text" {
		t.Errorf("out of the pipe came %q", got)
	}
	if err := a.toFile(os.DevNull, text); err != nil {
		t.Error(err)
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) != 3 {
		t.Errorf("left are %v, %v", list, err)
	}
}

// What a guest wrote does nothing to a terminal.
func TestToTerminal(t *testing.T) {
	a, _ := newApp(t)
	master, terminal, err := pty.Open()
	if err != nil {
		t.Skip(err)
	}
	defer master.Close()
	defer terminal.Close()
	a.stdout = terminal
	if err := a.toFile("", func(w io.Writer) error { _, err := io.WriteString(w, "+\tx\x1b[2J\n"); return err }); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(master).ReadString('\n')
	if err != nil || strings.Contains(line, "\x1b") || !strings.Contains(line, `\x1b[2J`) {
		t.Errorf("the terminal got %q, %v", line, err)
	}
}

// Paths count from where the user stands, also if the repository is gone or was moved.
func TestDiffPaths(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "repo", "d"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ root, cwd, typed, want string }{
		{"repo", "repo", "d/x", "d/x"},
		{"repo", "repo/d", "x", "d/x"},
		{"repo", "repo/d", "../y/", "y"},
		{"repo", "repo/d", ".", "d"},
		{"repo", ".", "d/x", "d/x"},
		{"gone", "repo/d", "x", "x"},
		{"repo", "repo", "../x", ""},
	} {
		t.Chdir(filepath.Join(dir, c.cwd))
		var f outFlags
		got, err := f.paths(t.Context(), part{Info: workspace.Info{Repository: filepath.Join(dir, c.root)}}, []string{c.typed})
		if strings.Join(got, " ") != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%s in %s is %q, %v; want %q", c.typed, c.cwd, got, err, c.want)
		}
	}
}
