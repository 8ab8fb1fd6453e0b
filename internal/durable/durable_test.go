package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestReplace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	for _, text := range []string{"old", "new and longer", ""} {
		if err := Replace(path, []byte(text)); err != nil {
			t.Fatalf("Replace: %v", err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != text {
			t.Errorf("the file holds %q, %v; want %q", got, err, text)
		}
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v; want mode 0600", fi, err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("the directory holds %v, want the file only", left)
	}
}

func TestReplaceFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := os.Mkdir(path, 0o700); err != nil { // a file can't take its name
		t.Fatal(err)
	}
	if err := Replace(path, []byte("x")); err == nil {
		t.Error("Replace of a directory: no error")
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("the directory holds %v, want no temporary file", left)
	}
	if err := SyncDir(filepath.Join(dir, "none")); err == nil {
		t.Error("SyncDir of no directory: no error")
	}
}

func TestMkdir(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "d")
	if err := Mkdir(path); err != nil {
		t.Fatalf("Mkdir: %v", err)
	}
	if fi, err := os.Stat(path); err != nil || !fi.IsDir() || fi.Mode().Perm() != 0o700 {
		t.Errorf("the directory is %v, %v; want mode 0700", fi, err)
	}
	if err := Mkdir(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Mkdir again = %v, want fs.ErrExist", err)
	}
	if err := Mkdir(filepath.Join(dir, "none", "d")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Mkdir without a parent = %v, want fs.ErrNotExist", err)
	}
}
