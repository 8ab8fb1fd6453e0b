package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"banger/internal/hint"
	"banger/internal/rootdisk"
	"banger/internal/vm"
)

func TestNewDisks(t *testing.T) {
	dir := t.TempDir()
	for _, sizeMiB := range []int64{vm.MinDiskMiB, 300, vm.DefDiskMiB, 100 << 10} {
		name := filepath.Join(dir, fmt.Sprint(sizeMiB))
		if err := Create(context.Background(), name, sizeMiB); err != nil {
			t.Fatalf("Create(%d MiB): %v", sizeMiB, err)
		}
		l := rootdisk.Of(sizeMiB << 20)
		if l.DataBytes != sizeMiB<<20 {
			t.Errorf("a disk of %d MiB holds %d bytes", sizeMiB, l.DataBytes)
		}
		isDisk(t, name, l)
		if err := Grow(name, sizeMiB*4); err != nil {
			t.Fatalf("Grow(%d MiB): %v", sizeMiB*4, err)
		}
		isDisk(t, name, rootdisk.Of(sizeMiB<<22))
		if err := Grow(name, sizeMiB); err == nil {
			t.Errorf("Grow from %d MiB to %d: no error", sizeMiB*4, sizeMiB)
		}
	}
	other := filepath.Join(dir, "other")
	if err := os.WriteFile(other, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Grow(other, vm.MinDiskMiB); err == nil {
		t.Error("Grow of another file: no error")
	}
	if text, _ := os.ReadFile(other); string(text) != "precious" {
		t.Errorf("Grow changed another file to %.20q", text)
	}
}

// isDisk looks at a disk on which nothing was written: only what its pool's metadata
// needs is allocated.
func isDisk(t *testing.T, name string, l rootdisk.Layout) {
	t.Helper()
	fi, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if fi.Size() != l.FileBytes || fi.Mode() != 0o600 {
		t.Errorf("%s has %d bytes and mode %v, want %d", name, fi.Size(), fi.Mode(), l.FileBytes)
	}
	if used, err := Used(name); err != nil || used < l.MetadataBytes || used > l.MetadataBytes+64<<10 {
		t.Errorf("Used(%s) = %d, %v; want %d", name, used, err, l.MetadataBytes)
	}
}

func TestCreateLeavesOthersFilesAlone(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "disk")
	if err := os.WriteFile(name, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Create(context.Background(), name, 64); !errors.Is(err, os.ErrExist) {
		t.Errorf("Create over a file: %v, want ErrExist", err)
	}
	if text, _ := os.ReadFile(name); string(text) != "precious" {
		t.Errorf("Create changed the file to %.20q", text)
	}
	for _, size := range []int64{0, -1, vm.MinDiskMiB - 1, vm.MaxDiskMiB + 1} {
		if err := Create(context.Background(), filepath.Join(dir, "new"), size); err == nil {
			t.Errorf("Create(%d MiB): no error", size)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Create(ctx, filepath.Join(dir, "new"), 64); !errors.Is(err, context.Canceled) {
		t.Errorf("Create with a cancelled context: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "new")); err == nil {
		t.Error("a failed Create left a file")
	}
}

// A small tmpfs of one's own stands for a full disk.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("mount a tmpfs: %v (needs root)", err)
	}
	defer unix.Unmount(dir, 0)
	name := filepath.Join(dir, "d")
	err := Create(context.Background(), name, 64)
	if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), dir) || hint.Of(err) == "" {
		t.Errorf("Create on a full disk: %v (hint %q); want ENOSPC with the path and a hint", err, hint.Of(err))
	}
	if _, err := os.Stat(name); err == nil {
		t.Error("a failed Create left a file")
	}
	// Deleting still works, with all that the trash must know.
	trash, err := OpenTrash(filepath.Join(dir, "trash"), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	victims := map[string]PutOptions{
		"full": {Name: "full", ID: vm.NewID()},
		"work": {Name: "work", ID: vm.NewID(), NotSaved: "the disk was full", Session: true},
		"gone": {Name: "gone", ID: vm.NewID()},
	}
	for _, o := range victims {
		victim(t, dir, o.ID, 1)
	}
	fill(t, filepath.Join(dir, "filler"))
	for name, o := range victims {
		if name == "gone" {
			err = trash.Discard(dir, filepath.Join(dir, string(o.ID)))
		} else {
			err = trash.Put(filepath.Join(dir, string(o.ID)), o)
		}
		if err != nil {
			t.Errorf("%s: on a full disk: %v", name, err)
		}
	}
	fill(t, filepath.Join(dir, "filler2")) // what Discard freed
	if err := trash.Bound(); err != nil {
		t.Errorf("Bound on a full disk: %v", err)
	}
	list, err := trash.List()
	if err != nil || len(list) != 2 {
		t.Fatalf("List on a full disk = %+v, %v; want 2", list, err)
	}
	for _, e := range list {
		if o := victims[e.Name]; e.ID != o.ID || e.Session != o.Session || (e.NotSaved != "") != (o.NotSaved != "") {
			t.Errorf("List on a full disk has %+v, want %+v", e, o)
		}
	}
	if err := trash.Restore(list[0], filepath.Join(dir, "back")); err != nil {
		t.Errorf("Restore on a full disk: %v", err)
	}
	if done, err := trash.Empty(list[1].Name); done.Entries != 1 || err != nil {
		t.Errorf("Empty on a full disk = %+v, %v", done, err)
	}
}

func fill(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("fill the disk: %v", err)
	}
}
