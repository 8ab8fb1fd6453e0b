package command

import (
	"os"
	"path/filepath"
	"testing"
)

func TestKnownTerminal(t *testing.T) {
	full, old, none := t.TempDir(), t.TempDir(), t.TempDir()
	for _, path := range []string{full + "/x/xterm-256color", full + "/x/xterm", full + "/x/xterm-kitty", full + "/67/ghost", full + "/p", old + "/x/xterm", old + "/v/vt100"} {
		os.MkdirAll(filepath.Dir(path), 0o755)
		if err := os.WriteFile(path, []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ term, dir, want string }{
		{"xterm", full, "xterm"},
		{"xterm-kitty", full, "xterm-kitty"},
		{"ghost", full, "ghost"}, // by its letter's number
		{"alacritty", full, "xterm-256color"},
		{"xterm-kitty", old, "xterm"},
		{"vt100", old, "vt100"},
		{"alacritty", none, "alacritty"},
		{"../p", full, "xterm-256color"},
		{"x/../../p", full, "xterm-256color"},
		{".", full, "xterm-256color"},
		{"x\x00", full, "xterm-256color"},
	} {
		if got := knownTerminal(c.term, []string{none, c.dir}); got != c.want {
			t.Errorf("knownTerminal(%q) = %q, want %q", c.term, got, c.want)
		}
	}
}
