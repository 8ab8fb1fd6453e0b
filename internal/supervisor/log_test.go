package supervisor

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func TestOwnLogIsBounded(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), LogFile))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l := ownLog{f, 100}
	for n := range 100 {
		if _, err := fmt.Fprintf(l, "line %02d\n", n); err != nil {
			t.Fatal(err)
		}
	}
	// 12 lines of 8 bytes fit, so the ninth beginning has lines 96 to 99.
	const want = "line 96\nline 97\nline 98\nline 99\n"
	if text, err := os.ReadFile(f.Name()); err != nil || string(text) != want {
		t.Errorf("the log is %q, %v, want %q", text, err, want)
	}
}

func TestOwnLogWithoutFile(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if n, err := (ownLog{w, 1}).Write([]byte("line\n")); n != 5 || err != nil {
		t.Errorf("Write to a pipe = %d, %v", n, err)
	}
}
