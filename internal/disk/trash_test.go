package disk

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"banger/internal/vm"
)

// victim makes a VM's directory with a disk of size bytes.
func victim(t *testing.T, dir, id string, size int) string {
	t.Helper()
	path := filepath.Join(dir, id)
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path, "data.ext4"), make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t *testing.T, l Limits) (*Trash, string, *time.Time) {
	t.Helper()
	base := t.TempDir()
	trash, err := OpenTrash(filepath.Join(base, "trash"), l)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	trash.now = func() time.Time { now = now.Add(time.Second); return now }
	return trash, base, &now
}

func names(t *testing.T, trash *Trash) []string {
	t.Helper()
	list, err := trash.List()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range list {
		out = append(out, e.Name)
	}
	return out
}

func TestPutListEmpty(t *testing.T) {
	trash, base, now := open(t, Limits{})
	id := string(vm.NewID())
	dir := victim(t, base, id, 100<<10)
	if err := trash.Put(dir, "one", id); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the directory is still there: %v", err)
	}
	if err := trash.Put(dir, "one", id); err != nil {
		t.Errorf("Put again: %v", err)
	}
	list, err := trash.List()
	if err != nil || len(list) != 1 {
		t.Fatalf("List = %+v, %v", list, err)
	}
	e := list[0]
	if e.ID != id || e.Name != "one" || e.DeletedAt.After(*now) || e.UsedBytes < 100<<10 {
		t.Errorf("List[0] = %+v", e)
	}
	if _, err := os.Stat(filepath.Join(e.Dir, "data.ext4")); err != nil {
		t.Errorf("the disk is not in the entry: %v", err)
	}
	n, bytes, err := trash.Empty()
	if n != 1 || bytes != e.UsedBytes || err != nil {
		t.Errorf("Empty = %d, %d, %v; want 1, %d", n, bytes, err, e.UsedBytes)
	}
	if n, _, err := trash.Empty(); n != 0 || err != nil {
		t.Errorf("Empty again = %d, %v", n, err)
	}
	for _, bad := range []string{"", "..", "../x", "0123", "0123456789ABCDEF"} {
		if err := trash.Put(base, "x", bad); err == nil {
			t.Errorf("Put with the id %q: no error", bad)
		}
	}
}

// Two VMs of one name, and one id deleted, restored and deleted again, are
// entries of their own.
func TestSameNameTwice(t *testing.T) {
	trash, base, _ := open(t, Limits{})
	id := string(vm.NewID())
	for range 2 {
		if err := trash.Put(victim(t, base, id, 1), "same", id); err != nil {
			t.Fatal(err)
		}
	}
	if got := names(t, trash); len(got) != 2 {
		t.Errorf("List = %v, want two", got)
	}
}

func TestBound(t *testing.T) {
	trash, base, now := open(t, Limits{MaxBytes: 250 << 10, MaxAge: time.Hour})
	put := func(name string, size int) {
		id := string(vm.NewID())
		if err := trash.Put(victim(t, base, id, size), name, id); err != nil {
			t.Fatal(err)
		}
	}
	check := func(what string, want ...string) {
		t.Helper()
		if err := trash.Bound(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, names(t, trash)); diff != "" {
			t.Errorf("%s: after Bound (-want +got):\n%s", what, diff)
		}
	}
	for i := range 5 {
		put(fmt.Sprintf("vm-%d", i), 90<<10)
	}
	check("too much", "vm-4", "vm-3")
	put("huge", 400<<10)
	check("the newest alone is too much", "huge")
	*now = now.Add(2 * time.Hour)
	put("young", 1)
	check("too old", "young")
	*now = now.Add(2 * time.Hour)
	check("even the newest gets old")
}

func TestOddThingsInTheTrash(t *testing.T) {
	trash, base, _ := open(t, Limits{})
	id := string(vm.NewID())
	dir := victim(t, base, id, 1)
	if err := os.WriteFile(filepath.Join(dir, "vm.json"), []byte(`{"format":1,"id":"`+id+`","spec":{"name":"from-record"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := trash.Put(dir, "bad\nname", id); err != nil {
		t.Fatal(err)
	}
	os.WriteFile(filepath.Join(trash.dir, "a-file"), nil, 0o600)
	os.Mkdir(filepath.Join(trash.dir, "strange"), 0o700)
	cut := filepath.Join(trash.dir, doomed+"x")
	os.Mkdir(cut, 0o700)
	if diff := cmp.Diff([]string{"from-record"}, names(t, trash)); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
	if _, err := OpenTrash(trash.dir, Limits{}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(cut); !os.IsNotExist(err) {
		t.Errorf("OpenTrash left a cut removal: %v", err)
	}
	if n, _, err := trash.Empty(); n != 1 || err != nil {
		t.Errorf("Empty = %d, %v; want 1: what is not an entry stays", n, err)
	}
	if _, err := os.Stat(filepath.Join(trash.dir, "strange")); err != nil {
		t.Errorf("Empty removed what is not an entry: %v", err)
	}
}

func TestRemoveKnowsLimits(t *testing.T) {
	for _, dir := range []string{"/", ".", ""} {
		if err := Remove(dir); err == nil {
			t.Errorf("Remove(%q): no error", dir)
		}
	}
	if err := Remove(filepath.Join(t.TempDir(), "gone")); err != nil {
		t.Errorf("Remove of nothing: %v", err)
	}
}
