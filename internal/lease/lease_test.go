package lease

import (
	"os"
	"path/filepath"
	"testing"
)

// A sweep removes what nobody holds, and nothing else.
func TestSweep(t *testing.T) {
	parent := t.TempDir()
	held, err := New(parent, "x-*")
	if err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(parent, "x-*cut")
	other := filepath.Join(parent, "other")
	for _, dir := range []string{cut, other} {
		if err := os.MkdirAll(filepath.Join(dir, "in"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(other, filepath.Join(parent, "x-*link")); err != nil {
		t.Fatal(err)
	}
	if err := Sweep(parent, "x-*"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(cut); err == nil {
		t.Error("what nobody holds is there after a sweep")
	}
	for _, dir := range []string{held.Dir, filepath.Join(other, "in")} {
		if _, err := os.Lstat(dir); err != nil {
			t.Error(err)
		}
	}
	held.Close()
	if _, err := os.Lstat(held.Dir); err == nil {
		t.Error("a closed lease is there")
	}
}
