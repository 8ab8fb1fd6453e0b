package filecopy

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A guest that sends more than is asked for, in one file or in many, is cut, and nothing
// of it stays.
func TestTooMuch(t *testing.T) {
	var many []*tar.Header
	for n := range 1000 {
		many = append(many, &tar.Header{Typeflag: tar.TypeSymlink, Name: fmt.Sprintf("item/d%d", n), Linkname: "x"})
	}
	var large bytes.Buffer
	from := t.TempDir()
	sh(t, from, "head -c 3000000 /dev/zero >f")
	if err := Send(t.Context(), &large, from, []string{"f"}, Header{}, nil); err != nil {
		t.Fatal(err)
	}
	for name, stream := range map[string]io.Reader{"in one file": &large, "in many": streamOf(t, many)} {
		t.Run(name, func(t *testing.T) {
			to := t.TempDir()
			got, err := Receive(t.Context(), stream, Options{Dest: to, MaxBytes: 2 << 20})
			if !errors.Is(err, ErrTooMuch) || !strings.Contains(err.Error(), "2 MiB") {
				t.Errorf("Receive = %+v, %v; want ErrTooMuch", got, err)
			}
			if left, _ := os.ReadDir(to); len(left) > 0 {
				t.Errorf("left are %v", left)
			}
		})
	}
}

func TestSpaceLeftAlone(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting a small file system needs root")
	}
	from, to := t.TempDir(), t.TempDir()
	if err := unix.Mount("none", to, "tmpfs", 0, "size=100m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(to, 0) })
	sh(t, from, "head -c 150000000 /dev/urandom >f")
	for keep, want := range map[bool]error{true: ErrTooMuch, false: unix.ENOSPC} {
		var stream bytes.Buffer
		if err := Send(t.Context(), &stream, from, []string{"f"}, Header{}, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := Receive(t.Context(), &stream, Options{Dest: to, KeepFree: keep}); !errors.Is(err, want) {
			t.Errorf("Receive with KeepFree %v: %v, want %v", keep, err, want)
		}
		if left, _ := os.ReadDir(to); len(left) > 0 {
			t.Errorf("left are %v", left)
		}
	}
}
