package network

import "testing"

func TestOneLine(t *testing.T) {
	for name, want := range map[string]string{"curl": "curl", "a b": "a b", "x\n2026 fake": "x?2026 fake", "\x1b[2J": "?[2J", "é\xff": "é�"} {
		if got := oneLine(name); got != want {
			t.Errorf("oneLine(%q) = %q, want %q", name, got, want)
		}
	}
}
