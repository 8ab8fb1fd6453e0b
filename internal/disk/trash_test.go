package disk

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"banger/internal/hint"
	"banger/internal/vm"
)

// victim makes a VM's directory with a disk of size bytes.
func victim(t *testing.T, dir string, id vm.ID, size int) string {
	t.Helper()
	path := filepath.Join(dir, string(id))
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path, "disk"), make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// room is a trash with its clocks in the test's hand.
type room struct {
	*Trash
	t    *testing.T
	vms  string
	wall time.Time
	boot string
	up   time.Duration
}

func newRoom(t *testing.T, l Limits) *room {
	t.Helper()
	r := &room{t: t, vms: filepath.Join(t.TempDir(), "vms"), wall: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), boot: "first", up: time.Minute}
	r.open(filepath.Join(t.TempDir(), "trash"), l)
	return r
}

func (r *room) open(dir string, l Limits) {
	r.t.Helper()
	var err error
	r.Trash, err = openTrash(dir, l, func() time.Time { return r.wall }, func() (string, time.Duration) { return r.boot, r.up })
	if err != nil {
		r.t.Fatal(err)
	}
}

// reopen is another process, or another boot of the host.
func (r *room) reopen() { r.t.Helper(); r.open(r.Trash.dir, r.Trash.limits) }

// pass lets time go by, on all clocks.
func (r *room) pass(d time.Duration) { r.wall, r.up = r.wall.Add(d), r.up+d }

func (r *room) put(name string, size int, change ...func(*PutOptions)) vm.ID {
	r.t.Helper()
	o := PutOptions{Name: name, ID: vm.NewID()}
	for _, c := range change {
		c(&o)
	}
	if err := r.Put(victim(r.t, r.vms, o.ID, size), o); err != nil {
		r.t.Fatalf("Put(%q): %v", name, err)
	}
	return o.ID
}

func session(o *PutOptions)  { o.Session = true }
func notSaved(o *PutOptions) { o.NotSaved = "it was killed" }

// check compares the names in the trash, newest first.
func (r *room) check(what string, want ...string) {
	r.t.Helper()
	list, err := r.List()
	if err != nil {
		r.t.Fatal(err)
	}
	var got []string
	for _, e := range list {
		got = append(got, e.Name)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		r.t.Errorf("%s: the trash holds (-want +got):\n%s", what, diff)
	}
}

func (r *room) bound() {
	r.t.Helper()
	if err := r.Bound(); err != nil {
		r.t.Fatalf("Bound: %v", err)
	}
}

func TestPutListEmpty(t *testing.T) {
	r := newRoom(t, Limits{})
	id := r.put("one", 100<<10)
	dir := filepath.Join(r.vms, string(id))
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the directory is still there: %v", err)
	}
	if err := r.Put(dir, PutOptions{Name: "one", ID: id}); err != nil {
		t.Errorf("Put again: %v", err)
	}
	list, err := r.List()
	if err != nil || len(list) != 1 {
		t.Fatalf("List = %+v, %v", list, err)
	}
	e := list[0]
	if e.ID != id || e.Name != "one" || !e.DeletedAt.Equal(r.wall) || e.UsedBytes < 100<<10 || e.Session || e.NotSaved != "" {
		t.Errorf("List[0] = %+v", e)
	}
	if _, err := os.Stat(filepath.Join(e.Dir, "disk")); err != nil {
		t.Errorf("the disk is not in the entry: %v", err)
	}
	r.put("precious", 1, notSaved, session)
	if used, err := r.UsedBytes(); used != e.UsedBytes || err != nil {
		t.Errorf("UsedBytes = %d, %v; want %d", used, err, e.UsedBytes)
	}
	done, err := r.Empty()
	if done.Entries != 1 || done.UsedBytes != e.UsedBytes || err != nil || len(done.Kept) != 1 || done.Kept[0].NotSaved != "it was killed" || !done.Kept[0].Session {
		t.Errorf("Empty = %+v, %v; want 1, %d", done, err, e.UsedBytes)
	}
	r.put("another", 1)
	if done, err := r.Empty("precious", "no-such"); !errors.Is(err, ErrNotInTrash) || done.Entries != 0 {
		t.Errorf("Empty with an unknown name = %+v, %v; want ErrNotInTrash", done, err)
	}
	if done, err := r.Empty("precious", "precious"); done.Entries != 1 || err != nil || len(done.Kept) != 0 {
		t.Errorf("Empty of one by name = %+v, %v", done, err)
	}
	r.check("after Empty by name", "another")
	for _, bad := range []vm.ID{"", "..", "../x", "0123", "0123456789ABCDEF"} {
		if err := r.Put(r.vms, PutOptions{Name: "x", ID: bad}); err == nil {
			t.Errorf("Put with the id %q: no error", bad)
		}
	}
}

func TestFind(t *testing.T) {
	r := newRoom(t, Limits{})
	put := func(name string, id vm.ID) { r.put(name, 1, func(o *PutOptions) { o.ID = id }); r.pass(time.Hour) }
	put("one", "aaaa000000000001")
	put("aaaa", "bbbb000000000002")
	put("same", "aaaa000000000003")
	put("same", "cccc000000000004")
	put("again", "dddd000000000005")
	put("again-later", "dddd000000000005")
	for ref, want := range map[string]vm.ID{"one": "aaaa000000000001", "aaaa": "bbbb000000000002", "b": "bbbb000000000002", "cccc000000000004": "cccc000000000004", "d": "dddd000000000005"} {
		if e, err := r.Find(ref); err != nil || e.ID != want {
			t.Errorf("Find(%q) = %+v, %v; want %s", ref, e, err, want)
		}
	}
	if e, err := r.Find("dddd000000000005"); err != nil || e.Name != "again-later" {
		t.Errorf("Find of an id that was deleted twice = %+v, %v; want the newest", e, err)
	}
	for ref, want := range map[string]string{"same": "cccc000000000004 (same, deleted 2026-01-02 06:04:05 UTC), aaaa000000000003", "aaa": "aaaa000000000001"} {
		var amb *AmbiguousError
		if _, err := r.Find(ref); !errors.As(err, &amb) || len(amb.Entries) != 2 || !strings.Contains(err.Error(), want) || hint.Of(err) == "" {
			t.Errorf("Find(%q) = %v; want an AmbiguousError with %q and a hint", ref, err, want)
		}
	}
	for _, ref := range []string{"", "none", "*", "aaaa0000000000011"} {
		if e, err := r.Find(ref); !errors.Is(err, ErrNotInTrash) {
			t.Errorf("Find(%q) = %+v, %v; want ErrNotInTrash", ref, e, err)
		}
	}
}

func TestRestore(t *testing.T) {
	r := newRoom(t, Limits{})
	id := r.put("one", 10, notSaved)
	home := filepath.Join(r.vms, string(id))
	e, err := r.Find("one")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := r.Restore(e, home); !errors.Is(err, os.ErrExist) {
		t.Errorf("Restore over a directory: %v, want ErrExist", err)
	}
	os.Remove(home)
	if err := r.Restore(e, home); err != nil {
		t.Fatalf("Restore: %v", err)
	}
	left, _ := os.ReadDir(home)
	if len(left) != 1 || left[0].Name() != "disk" {
		t.Errorf("the restored directory holds %v, want the disk only", left)
	}
	r.check("after Restore")
	if err := r.Restore(e, home+"2"); !errors.Is(err, ErrNotInTrash) {
		t.Errorf("Restore again: %v, want ErrNotInTrash", err)
	}
	if err := r.Restore(Entry{Dir: home}, home+"2"); !errors.Is(err, ErrNotInTrash) {
		t.Errorf("Restore of what is elsewhere: %v, want ErrNotInTrash", err)
	}
}

func TestOddThingsInTheTrash(t *testing.T) {
	r := newRoom(t, Limits{MaxBytes: 1, MaxAge: 1})
	r.put("bad\nname", 1)
	old := "20250102T030405.000000006Z-0123456789abcdef" // an earlier banger's
	for _, d := range []string{"strange", old, "1.2.3.4.5.6", "000000000001.20260102T030405Z.0.0123456789abcdef.x.x", "000000000001.20260102T030405Z.0.../../etc.x.-"} {
		os.MkdirAll(filepath.Join(r.dir, d), 0o700)
	}
	os.WriteFile(filepath.Join(r.dir, "000000000009.20260102T030405Z.0.0123456789abcdef.x.-"), nil, 0o600)
	cut := filepath.Join(r.dir, doomed+"x")
	os.Mkdir(cut, 0o700)
	r.check("odd things", "")
	if e, err := r.Find("0123456789abcdef"); !errors.Is(err, ErrNotInTrash) || !strings.Contains(err.Error(), old) || !strings.Contains(err.Error(), "earlier banger") {
		t.Errorf("Find of an earlier banger's = %+v, %v; want an error that names it", e, err)
	}
	r.reopen()
	if _, err := os.Stat(cut); !os.IsNotExist(err) {
		t.Errorf("OpenTrash left a cut removal: %v", err)
	}
	os.Mkdir(cut, 0o700)
	r.pass(time.Hour)
	r.bound()
	if _, err := os.Stat(cut); !os.IsNotExist(err) {
		t.Errorf("Bound left a cut removal: %v", err)
	}
	if done, err := r.Empty(); done.Entries != 1 || err != nil {
		t.Errorf("Empty = %+v, %v; want 1: what is not an entry stays", done, err)
	}
	for _, d := range []string{"strange", old} {
		if _, err := os.Stat(filepath.Join(r.dir, d)); err != nil {
			t.Errorf("%s, which is no entry, is gone: %v", d, err)
		}
	}
}

func TestRemoveKnowsLimits(t *testing.T) {
	root := t.TempDir()
	inner := filepath.Join(root, "vm", "deep")
	if err := os.MkdirAll(inner, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range [][2]string{{"/", "/etc"}, {"", "x"}, {".", "./x"}, {root, root}, {root, inner}, {root, root + "/"}, {root, root + "/."},
		{root, root + "/.."}, {root, root + "/vm/../vm"}, {root, filepath.Dir(root)}, {root, ""}, {"rel", "rel/x"}} {
		if err := Remove(c[0], c[1]); err == nil {
			t.Errorf("Remove(%q, %q): no error", c[0], c[1])
		}
	}
	if _, err := os.Stat(inner); err != nil {
		t.Errorf("a refused Remove removed something: %v", err)
	}
	for range 2 {
		if err := Remove(root, filepath.Join(root, "vm")); err != nil {
			t.Errorf("Remove: %v", err)
		}
	}
	if left, _ := os.ReadDir(root); len(left) != 0 {
		t.Errorf("Remove left %v", left)
	}
}
