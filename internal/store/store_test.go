package store

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"banger/internal/vm"
)

func record(id, name string) vm.Record {
	return vm.Record{Format: vm.RecordFormat, ID: vm.ID(id), State: vm.Created, CreatedAt: time.Unix(1, 0).UTC(),
		Spec: vm.Spec{Name: name, Image: vm.DefImage, VCPUs: 1, MemMiB: 512, DiskMiB: 1024, VMM: "auto"}}
}

func open(t *testing.T, path string) *Store {
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
	got, err := open(t, path).Resolve(ctx, "one")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("Resolve after reopening (-want +got):\n%s", d)
	}
	if fi, _ := os.Stat(path); fi.Mode().Perm() != 0o600 {
		t.Errorf("database has mode %v, want 0600", fi.Mode())
	}
}

func TestResolve(t *testing.T) {
	ctx := context.Background()
	s := open(t, filepath.Join(t.TempDir(), "db"))
	for _, r := range []vm.Record{record("aaaa000000000001", "one"), record("aaaa000000000002", "two"), record("bbbb000000000003", "aaaa")} {
		if err := s.Insert(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Insert(ctx, record("cccc000000000004", "one")); !errors.Is(err, ErrNameTaken) {
		t.Errorf("Insert of a taken name: got %v, want ErrNameTaken", err)
	}
	for ref, want := range map[string]string{
		"one": "one", "aaaa000000000002": "two", "b": "aaaa",
		"aaaa": "aaaa", // a name beats the beginning of an id
	} {
		if got, err := s.Resolve(ctx, ref); err != nil || got.Spec.Name != want {
			t.Errorf("Resolve(%q) = %q, %v; want %q", ref, got.Spec.Name, err, want)
		}
	}
	var amb *AmbiguousError
	if _, err := s.Resolve(ctx, "aaa"); !errors.As(err, &amb) || len(amb.Names) != 2 {
		t.Errorf("Resolve(aaa): got %v, want an AmbiguousError of 2", err)
	}
	for _, ref := range []string{"", "%", "none", "aaaa0000000000021"} {
		if _, err := s.Resolve(ctx, ref); !errors.Is(err, ErrNotFound) {
			t.Errorf("Resolve(%q): got %v, want ErrNotFound", ref, err)
		}
	}
	if err := s.Save(ctx, record("dddd000000000005", "x")); !errors.Is(err, ErrNotFound) {
		t.Errorf("Save of an absent record: got %v, want ErrNotFound", err)
	}
}

func TestNewerFileIsRefusedUntouched(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "db")
	s := open(t, path)
	if _, err := s.db.Exec("PRAGMA user_version=99"); err != nil {
		t.Fatal(err)
	}
	s.Close()
	before, _ := os.ReadFile(path)
	if _, err := Open(ctx, path); !errors.Is(err, ErrNewer) {
		t.Fatalf("Open of format 99: got %v, want ErrNewer", err)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("the refused file was changed")
	}
	if err := os.WriteFile(path, []byte("not a database, but longer than nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(ctx, path); err == nil {
		t.Error("Open of a text file: got no error")
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
	want.Format = vm.RecordFormat + 1
	if err := WriteFile(dir, want); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(dir); !errors.Is(err, ErrNewer) {
		t.Errorf("ReadFile of a newer record: got %v, want ErrNewer", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) != 0 {
		t.Errorf("temporary files left: %v", left)
	}
}
