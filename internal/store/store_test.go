package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"banger/internal/vm"
)

func record(id, name string) vm.Record {
	return vm.Record{Format: vm.RecordFormat, ID: vm.ID(id), State: vm.Created, CreatedAt: time.Unix(1, 0).UTC(),
		Spec: vm.Spec{Name: name, Image: vm.DefImage, VCPUs: 1, MemMiB: 512, DiskMiB: 1024, Driver: vm.DriverAuto}}
}

func open(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(context.Background(), path)
	if err != nil {
		t.Fatalf("Open(%q): %v", path, err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestRecordsSurviveReopening(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "a b?c#.db")
	s := open(t, path)
	want := record("0123456789abcdef", "one")
	if err := s.Insert(ctx, want); err != nil {
		t.Fatal(err)
	}
	want.State = vm.Running
	if err := s.Save(ctx, want); err != nil {
		t.Fatal(err)
	}
	s.Close()
	got, bad, err := open(t, path).List(ctx)
	if err != nil || len(got) != 1 || len(bad) != 0 {
		t.Fatalf("List after reopening: %v, %q, %v", got, bad, err)
	}
	if d := cmp.Diff(want, got[0]); d != "" {
		t.Errorf("List after reopening (-want +got):\n%s", d)
	}
	if fi, _ := os.Stat(path); fi.Mode().Perm() != 0o600 {
		t.Errorf("database has mode %v, want 0600", fi.Mode())
	}
}

func TestNames(t *testing.T) {
	ctx := context.Background()
	s := open(t, filepath.Join(t.TempDir(), "db"))
	one, two := record("aaaa000000000001", "one"), record("aaaa000000000002", "two")
	for _, r := range []vm.Record{one, two} {
		if err := s.Insert(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	third := record("cccc000000000004", "one")
	if err := s.Insert(ctx, third); !errors.Is(err, ErrNameTaken) {
		t.Errorf("Insert of a taken name: %v, want ErrNameTaken", err)
	}
	two.Spec.Name = "one"
	if err := s.Save(ctx, two); !errors.Is(err, ErrNameTaken) {
		t.Errorf("Save with a taken name: %v, want ErrNameTaken", err)
	}
	if got, err := s.InsertRestored(ctx, third); err != nil || got.Spec.Name != "one-cccc000000000004" || vm.CheckName(got.Spec.Name) != nil {
		t.Errorf("InsertRestored: %q, %v", got.Spec.Name, err)
	}
	if err := s.Save(ctx, record("dddd000000000005", "x")); !errors.Is(err, ErrNotFound) {
		t.Errorf("Save of an absent record: %v, want ErrNotFound", err)
	}
	for range 2 {
		if err := s.Delete(ctx, one.ID); err != nil {
			t.Errorf("Delete: %v", err)
		}
	}
}

func TestOtherFormatsAreRefusedUntouched(t *testing.T) {
	for at, want := range map[int]error{99: ErrNewer, 1: ErrOlder} {
		path := filepath.Join(t.TempDir(), "db")
		s := open(t, path)
		if _, err := s.db.Exec(fmt.Sprintf("PRAGMA user_version=%d", at)); err != nil {
			t.Fatal(err)
		}
		s.Close()
		before, _ := os.ReadFile(path)
		if _, err := Open(context.Background(), path); !errors.Is(err, want) {
			t.Errorf("Open of format %d: %v, want %v", at, err, want)
		}
		if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
			t.Error("the refused file was changed")
		}
	}
}

func TestVMJSON(t *testing.T) {
	dir := t.TempDir()
	want := record("0123456789abcdef", "one")
	if err := WriteFile(dir, want); err != nil {
		t.Fatal(err)
	}
	got, err := ReadFile(dir)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("ReadFile (-want +got):\n%s", d)
	}
	for text, want := range map[string]error{
		`{"format": 5, "id": "0123456789abcdef"}`: ErrNewer, `{"format": 1, "id": "0123456789abcdef"}`: ErrOlder,
		`{}`: ErrDamaged, ``: ErrDamaged, `{"format": 4, "id": "../../x"}`: ErrDamaged, "\x00\x00": ErrDamaged,
	} {
		if err := os.WriteFile(filepath.Join(dir, "vm.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadFile(dir); !errors.Is(err, want) {
			t.Errorf("ReadFile of %q: %v, want %v", text, err, want)
		}
	}
}

// damages are what can happen to a database that nobody has open. They get the
// file, and change it.
func damages() map[string]func(path string, text []byte) []byte {
	out := map[string]func(string, []byte) []byte{
		"a byte is left":  func(_ string, b []byte) []byte { return b[:1] },
		"half the header": func(_ string, b []byte) []byte { return b[:50] },
		"text":            func(string, []byte) []byte { return []byte("not a database, but longer than nothing") },
		"zeroes":          func(_ string, b []byte) []byte { return make([]byte, len(b)) },
		"another magic":   func(_ string, b []byte) []byte { b[0] = 's'; return b },
		"page size":       func(_ string, b []byte) []byte { b[16], b[17] = 3, 3; return b },
		"freelist":        func(_ string, b []byte) []byte { b[32], b[36] = 0xff, 0xff; return b },
		"schema format":   func(_ string, b []byte) []byte { b[47] = 9; return b },
		"encoding":        func(_ string, b []byte) []byte { b[59] = 7; return b },
		"cut in a page":   func(_ string, b []byte) []byte { return b[:len(b)-1000] },
		"cut to one page": func(_ string, b []byte) []byte { return b[:4096] },
		"a page too much": func(_ string, b []byte) []byte { return append(b, bytes.Repeat([]byte{0x55}, 4096)...) },
		"noise in the log": func(path string, b []byte) []byte {
			os.WriteFile(path+"-wal", bytes.Repeat([]byte{7}, 9000), 0o600)
			return b
		},
		"torn log":         func(path string, b []byte) []byte { os.WriteFile(path+"-wal", b[:777], 0o600); return b },
		"half a page torn": func(_ string, b []byte) []byte { copy(b[4096+2048:], bytes.Repeat([]byte{0}, 2048)); return b },
	}
	for page := range 5 {
		out[fmt.Sprintf("page %d is zeroes", page)] = func(_ string, b []byte) []byte {
			copy(b[page*4096:(page+1)*4096], make([]byte, 4096))
			return b
		}
		out[fmt.Sprintf("noise in page %d", page)] = func(_ string, b []byte) []byte {
			for n := page*4096 + 120; n < (page+1)*4096; n += 7 {
				b[n] ^= 0xa5
			}
			return b
		}
	}
	return out
}

// A damaged database is read whole, or refused by name, and its VMs are found
// again by their own records.
func TestDamage(t *testing.T) {
	ctx := context.Background()
	const vms = 40
	read, refused := 0, 0
	for name, damage := range damages() {
		dir := t.TempDir()
		path, vmsDir := filepath.Join(dir, "db"), filepath.Join(dir, "vms")
		s := open(t, path)
		for n := range vms {
			r := record(fmt.Sprintf("%016x", n), fmt.Sprintf("vm-%d", n))
			if err := s.Insert(ctx, r); err != nil {
				t.Fatal(err)
			}
			if err := os.MkdirAll(filepath.Join(vmsDir, string(r.ID)), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := WriteFile(filepath.Join(vmsDir, string(r.ID)), r); err != nil {
				t.Fatal(err)
			}
		}
		s.Close()
		text, err := os.ReadFile(path)
		if err != nil || len(text) < 5*4096 {
			t.Fatalf("the database has %d bytes, %v", len(text), err)
		}
		if err := os.WriteFile(path, damage(path, text), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err = Open(ctx, path)
		if err == nil {
			list, bad, err := s.List(ctx)
			s.Close()
			if err != nil || len(list)+len(bad) != vms && len(list) != vms {
				t.Errorf("%s: %d records, %q, %v", name, len(list), bad, err)
			}
			read++
			continue
		}
		refused++
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: Open: %v, want ErrDamaged", name, err)
		}
		if err := Check(ctx, path); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: Check: %v, want ErrDamaged", name, err)
		}
		done, err := Rebuild(ctx, path, vmsDir)
		if err != nil || done.VMs != vms || done.SetAside == "" {
			t.Errorf("%s: Rebuild: %+v, %v", name, done, err)
		}
		if err := Check(ctx, path); err != nil {
			t.Errorf("%s: Check after Rebuild: %v", name, err)
		}
	}
	t.Logf("%d kinds of damage: %d read whole, %d refused and rebuilt", read+refused, read, refused)
}

// On a file system without room one can read, and write when there is room again.
func TestFullFileSystem(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("a file system of its own needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("store", dir, "tmpfs", 0, "size=1m,mode=0700"); err != nil {
		t.Skipf("mount a file system: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	ctx := context.Background()
	path, filler := filepath.Join(dir, "db"), filepath.Join(dir, "filler")
	s := open(t, path)
	r := record("0123456789abcdef", "one")
	if err := s.Insert(ctx, r); err != nil {
		t.Fatal(err)
	}
	s.Close()
	os.WriteFile(filler, make([]byte, 2<<20), 0o600)
	s, err := Open(ctx, path)
	if err != nil {
		t.Fatalf("Open with no byte free: %v", err)
	}
	defer s.Close()
	if list, _, err := s.List(ctx); err != nil || len(list) != 1 {
		t.Errorf("List with no byte free: %v, %v", list, err)
	}
	if err := s.Save(ctx, r); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("Save with no byte free: %v, want ENOSPC", err)
	}
	os.Remove(filler)
	r.State = vm.Stopped
	if err := s.Save(ctx, r); err != nil {
		t.Errorf("Save with room again: %v", err)
	}
}

func BenchmarkOpenAndList1000(b *testing.B) {
	ctx := context.Background()
	path := filepath.Join(b.TempDir(), "db")
	s := open(b, path)
	for n := range 1000 {
		if err := s.Insert(ctx, record(fmt.Sprintf("%016x", n), fmt.Sprintf("vm-%d", n))); err != nil {
			b.Fatal(err)
		}
	}
	s.Close()
	for b.Loop() {
		s := open(b, path)
		if list, _, err := s.List(ctx); err != nil || len(list) != 1000 {
			b.Fatal(len(list), err)
		}
		s.Close()
	}
}
