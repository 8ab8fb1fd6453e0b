package durable

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
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

func TestSweep(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{".vm.json.0badcafe.new", "vm.json", ".other", "b.new"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := Sweep(dir); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 3 {
		t.Errorf("left are %v, want all but the temporary file", left)
	}
}

// A mode is less the umask, an error leaves what was there, and nothing has a name until
// all is written.
func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	defer unix.Umask(unix.Umask(0o077))
	write := func(text string, err error) error {
		return Write(path, 0o666, func(w io.Writer) error {
			if left, _ := os.ReadDir(dir); len(left) > 1 {
				t.Errorf("the directory holds %v while it is written", left)
			}
			io.WriteString(w, text)
			return err
		})
	}
	if err := write("whole", nil); err != nil {
		t.Fatal(err)
	}
	if err := write("half", io.ErrUnexpectedEOF); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Write = %v, want what went wrong", err)
	}
	got, err := os.ReadFile(path)
	if fi, serr := os.Stat(path); string(got) != "whole" || err != nil || serr != nil || fi.Mode() != 0o600 {
		t.Errorf("the file is %q, %v, %v", got, fi, errors.Join(err, serr))
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("the directory holds %v, want the file only", left)
	}
}
