package unixsock

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestHandle(t *testing.T) {
	for _, n := range []int{1, 150} {
		dir := filepath.Join(t.TempDir(), strings.Repeat("d", n))
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "s")
		if _, err := Hold(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("Hold of nothing: %v, want that it does not exist", err)
		}
		l, err := Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		h, err := Hold(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		c, err := h.Dial(t.Context())
		if err != nil {
			t.Fatalf("Dial of a socket whose directory was removed: %v", err)
		}
		c.Close()
		l.Close()
		if _, err := h.Dial(t.Context()); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("Dial of a socket without a listener: %v, want an error that names %q", err, path)
		}
		h.Close()
		if _, err := h.Dial(t.Context()); err == nil {
			t.Error("Dial after Close: no error")
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Hold(file); err == nil {
		t.Error("Hold of a file that is no socket: no error")
	}
}
