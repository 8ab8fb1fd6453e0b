package network

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestOneLine(t *testing.T) {
	for name, want := range map[string]string{"curl": "curl", "a b": "a b", "x\n2026 fake": "x?2026 fake", "\x1b[2J": "?[2J", "é\xff": "é�"} {
		if got := oneLine(name); got != want {
			t.Errorf("oneLine(%q) = %q, want %q", name, got, want)
		}
	}
}

// The file has the same denial once a second, and is bounded.
func TestDenials(t *testing.T) {
	d := denials{path: filepath.Join(t.TempDir(), "denied")}
	add := func(text, process string) {
		t.Helper()
		if err := d.add(text, process); err != nil {
			t.Fatal(err)
		}
	}
	add("dns a.example: no", "curl[7]")
	add("dns a.example: no", "curl[7]")
	add("dns b.example\nfake: no", "")
	text, err := os.ReadFile(d.path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if len(lines) != 2 || !strings.HasSuffix(lines[0], "Z denied dns a.example: no, asked by curl[7]") || !strings.HasSuffix(lines[1], "Z denied dns b.example?fake: no") {
		t.Errorf("the file has %q", lines)
	}
	d.at = time.Time{}
	add("dns b.example\nfake: no", "")
	for n := range 2000 {
		add(fmt.Sprintf("tcp 93.184.216.34:%d: no; --allow 93.184.216.34:%d allows it", n, n), "curl[7]")
	}
	text, err = os.ReadFile(d.path)
	if err != nil {
		t.Fatal(err)
	}
	lines = strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if len(text) > maxDenied+200 || !strings.Contains(lines[len(lines)-1], ":1999: no") || !strings.HasPrefix(lines[0], "20") {
		t.Errorf("the file has %d bytes, from %q to %q", len(text), lines[0], lines[len(lines)-1])
	}
}
