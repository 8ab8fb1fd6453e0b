package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"banger/internal/hint"
	"banger/internal/vm"
)

func tool(t *testing.T, name string) string {
	t.Helper()
	p, err := findTool(name)
	if err != nil {
		t.Skip(err)
	}
	return p
}

func TestNewDisks(t *testing.T) {
	tool(t, "mke2fs")
	dir := t.TempDir()
	templates := filepath.Join(dir, "templates")
	for _, sizeMiB := range []int64{vm.MinDiskMiB, 300, vm.DefDiskMiB, 100 << 10} {
		name := filepath.Join(dir, fmt.Sprintf("%d.ext4", sizeMiB))
		if err := Create(context.Background(), name, sizeMiB, templates); err != nil {
			t.Fatalf("Create(%d MiB): %v", sizeMiB, err)
		}
		fi, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if fi.Size() != sizeMiB<<20 || fi.Mode() != 0o600 {
			t.Errorf("Create(%d MiB) made %d bytes of mode %v", sizeMiB, fi.Size(), fi.Mode())
		}
		used, err := Used(name)
		if err != nil || sizeMiB <= vm.DefDiskMiB && used > 5<<20 {
			t.Errorf("Used(disk of %d MiB) = %d, %v; want at most 5 MiB", sizeMiB, used, err)
		}
		t.Logf("%d MiB: %d KiB allocated", sizeMiB, used>>10)
		cmd := exec.Command(tool(t, "e2fsck"), "-fn", name)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("e2fsck of a disk of %d MiB: %v\n%s", sizeMiB, err, out)
		}
		out, err := exec.Command(tool(t, "dumpe2fs"), "-h", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"has_journal", "Reserved block count:     0", "metadata_csum"} {
			if !strings.Contains(string(out), want) {
				t.Errorf("dumpe2fs of a disk of %d MiB lacks %q:\n%s", sizeMiB, want, out)
			}
		}
	}
}

func TestCreateLeavesOthersFilesAlone(t *testing.T) {
	tool(t, "mke2fs")
	dir := t.TempDir()
	name := filepath.Join(dir, "disk")
	if err := os.WriteFile(name, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Create(context.Background(), name, 64, filepath.Join(dir, "t")); !errors.Is(err, os.ErrExist) {
		t.Errorf("Create over a file: %v, want ErrExist", err)
	}
	if text, _ := os.ReadFile(name); string(text) != "precious" {
		t.Errorf("Create changed the file to %.20q", text)
	}
	for _, size := range []int64{0, -1, vm.MinDiskMiB - 1, vm.MaxDiskMiB + 1} {
		if err := Create(context.Background(), filepath.Join(dir, "new"), size, filepath.Join(dir, "t")); err == nil {
			t.Errorf("Create(%d MiB): no error", size)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Create(ctx, filepath.Join(dir, "new"), 64, filepath.Join(dir, "t")); !errors.Is(err, context.Canceled) {
		t.Errorf("Create with a cancelled context: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "new")); err == nil {
		t.Error("a failed Create left a file")
	}
}

func TestManyAtOnceShareOneTemplate(t *testing.T) {
	tool(t, "mke2fs")
	dir := t.TempDir()
	templates := filepath.Join(dir, "templates")
	// What a killed maker leaves.
	if err := os.Mkdir(templates, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(templates, ".making.ext4"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(templates, "empty-v1-64.ext4"), []byte("cut"), 0o600); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if err := Create(context.Background(), filepath.Join(dir, fmt.Sprint(i)), 64, templates); err != nil {
				t.Errorf("Create: %v", err)
			}
		})
	}
	wg.Wait()
	first, err := os.ReadFile(filepath.Join(dir, "0"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 8 {
		if b, err := os.ReadFile(filepath.Join(dir, fmt.Sprint(i))); err != nil || !bytes.Equal(b, first) {
			t.Errorf("disk %d differs from the first (%v)", i, err)
		}
	}
	left, _ := os.ReadDir(templates)
	if len(left) != 2 { // the template and the lock
		t.Errorf("templates hold %v", left)
	}
}

func TestNoMke2fs(t *testing.T) {
	if _, err := os.Stat("/usr/sbin/mke2fs"); err == nil {
		// Found there even where PATH lacks it.
		t.Setenv("PATH", t.TempDir())
		if err := Create(context.Background(), filepath.Join(t.TempDir(), "d"), 64, t.TempDir()); err != nil {
			t.Errorf("Create with an empty PATH: %v", err)
		}
	}
	_, err := findTool("mke2fs-that-is-nowhere")
	if err == nil || !strings.Contains(hint.Of(err), "e2fsprogs") {
		t.Errorf("findTool of a missing program: %v, hint %q", err, hint.Of(err))
	}
}

// A small tmpfs of one's own stands for a full disk.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("mount a tmpfs: %v (needs root)", err)
	}
	defer unix.Unmount(dir, 0)
	templates := t.TempDir()
	if err := Create(context.Background(), filepath.Join(t.TempDir(), "d"), 64, templates); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "d")
	err := Create(context.Background(), name, 64, templates)
	if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), dir) || hint.Of(err) == "" {
		t.Errorf("Create on a full disk: %v (hint %q); want ENOSPC with the path and a hint", err, hint.Of(err))
	}
	if _, err := os.Stat(name); err == nil {
		t.Error("a failed Create left a file")
	}
	err = Create(context.Background(), filepath.Join(t.TempDir(), "d"), 100<<10, filepath.Join(dir, "templates"))
	if !errors.Is(err, unix.ENOSPC) {
		t.Errorf("Create with templates on a full disk: %v; want ENOSPC", err)
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

func TestCloneKeepsHolesAndData(t *testing.T) {
	dir := t.TempDir()
	src, err := os.Create(filepath.Join(dir, "src"))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	src.WriteAt([]byte("first"), 0)
	src.WriteAt([]byte("middle"), 10<<20+17)
	src.Truncate(64 << 20)
	dst, err := os.Create(filepath.Join(dir, "dst"))
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	if err := clone(context.Background(), dst, src); err != nil {
		t.Fatal(err)
	}
	a, _ := os.ReadFile(src.Name())
	b, _ := os.ReadFile(dst.Name())
	if !bytes.Equal(a, b) {
		t.Error("clone differs from its source")
	}
	if used, err := Used(dst.Name()); err != nil || used > 1<<20 {
		t.Errorf("Used(clone) = %d, %v; want the holes kept", used, err)
	}
}
