package disk

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"

	"banger/internal/vm"
)

const week = 7 * 24 * time.Hour

func TestBoundBySize(t *testing.T) {
	r := newRoom(t, Limits{MaxBytes: 250 << 10})
	for i := range 5 {
		r.put(fmt.Sprintf("vm-%d", i), 90<<10)
	}
	r.bound()
	r.check("too much", "vm-4", "vm-3")
	r.put("huge", 400<<10)
	r.bound()
	r.check("the newest alone is too much", "huge")
}

// What is older than what had to go, goes too.
func TestBoundRemovesTheOlder(t *testing.T) {
	r := newRoom(t, Limits{MaxBytes: 100 << 10})
	r.put("oldest", 4<<10)
	r.put("middle", 60<<10)
	r.put("newest", 60<<10)
	r.bound()
	r.check("6, 6, 1 of 10", "newest")
}

func TestBoundByAge(t *testing.T) {
	r := newRoom(t, Limits{MaxAge: week})
	r.put("old", 1)
	r.pass(4 * 24 * time.Hour)
	r.put("young", 1)
	r.put("newest", 1)
	r.bound()
	r.check("four days", "newest", "young", "old")
	r.pass(4 * 24 * time.Hour) // nothing is deleted
	r.bound()
	r.check("eight days", "newest", "young")
	r.pass(week)
	r.bound()
	r.check("the newest stays", "newest")
}

// A date that is wrong removes nothing.
func TestBoundAndTheClock(t *testing.T) {
	r := newRoom(t, Limits{MaxAge: week})
	for _, name := range []string{"a", "b", "c"} {
		r.put(name, 1)
	}
	r.wall = r.wall.Add(8 * 24 * time.Hour) // set by hand
	r.put("in-the-future", 1)
	r.bound()
	r.check("eight days ahead", "in-the-future", "c", "b", "a")
	r.wall = r.wall.Add(-30 * 24 * time.Hour)
	r.put("in-the-past", 1)
	r.bound()
	r.check("a month back, in order", "in-the-past", "in-the-future", "c", "b", "a")
	// A host without a battery comes up in 1970, and later learns the time.
	r.boot, r.up, r.wall = "second", time.Minute, time.Unix(100, 0)
	r.reopen()
	r.bound()
	r.wall = time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)
	r.bound()
	r.check("another year", "in-the-past", "in-the-future", "c", "b", "a")
	// Seven boots of a day each are a week.
	for i := range 8 {
		r.pass(time.Hour)
		r.bound()
		r.boot, r.up, r.wall = fmt.Sprint("boot", i), time.Minute, r.wall.Add(24*time.Hour)
		r.reopen()
	}
	r.bound()
	r.check("a week of boots", "in-the-past")
	// A lost clock makes nothing old.
	r.put("next", 1)
	r.put("last", 1)
	r.bound()
	os.Remove(filepath.Join(r.dir, clockFile))
	r.reopen()
	r.bound()
	r.check("without a clock", "last", "next")
	os.WriteFile(filepath.Join(r.dir, clockFile), []byte("{\"held_ns\":"), 0o600)
	r.reopen()
	r.bound()
	r.check("with a cut clock", "last", "next")
}

func TestBoundAndSessions(t *testing.T) {
	r := newRoom(t, Limits{MaxBytes: 800 << 10}) // 100 KiB for sessions
	r.put("mistake", 100<<10)
	for i := range 20 {
		r.put(fmt.Sprintf("s-%d", i), 40<<10, session)
		r.bound()
	}
	r.check("many sessions", "s-19", "s-18", "mistake")
	r.put("big", 650<<10)
	r.bound()
	r.check("sessions go first", "big", "mistake")
	r.put("huge-session", 2000<<10, session)
	r.bound()
	r.check("the newest stays, and pushes out nothing", "huge-session", "big", "mistake")
}

func TestBoundSparesWhatWasNotSaved(t *testing.T) {
	r := newRoom(t, Limits{MaxBytes: 100 << 10, MaxAge: week})
	r.put("work", 500<<10, notSaved)
	r.put("run", 500<<10, notSaved, session)
	r.put("a", 60<<10)
	r.put("b", 30<<10)
	r.bound()
	r.check("no room", "b", "a", "run", "work")
	r.pass(3 * week)
	r.bound()
	r.check("long ago", "b", "run", "work")
}

// Discard leaves nothing under the VM's name, whenever it is cut.
func TestDiscard(t *testing.T) {
	r := newRoom(t, Limits{})
	id := vm.NewID()
	dir := victim(t, r.vms, id, 1)
	for range 2 {
		if err := r.Discard(r.vms, dir); err != nil {
			t.Errorf("Discard: %v", err)
		}
	}
	for _, d := range []string{r.vms, r.dir} {
		if left, _ := filepath.Glob(filepath.Join(d, "*"+string(id)+"*")); len(left) != 0 {
			t.Errorf("Discard left %v", left)
		}
	}
	if err := r.Discard(r.vms, filepath.Dir(r.vms)); err == nil {
		t.Error("Discard of a directory elsewhere: no error")
	}
	dir = victim(t, r.vms, id, 1)
	dead, err := r.doom(dir) // cut here
	if err != nil {
		t.Fatal(err)
	}
	r.check("cut")
	r.reopen()
	if _, err := os.Stat(dead); !os.IsNotExist(err) {
		t.Errorf("OpenTrash left %q: %v", dead, err)
	}
}

// Whatever is deleted, in whatever order, Bound removes no deliberate deletion
// because of a session's, keeps the newest, and leaves no older one when a newer
// one had to go.
func TestOverIsSane(t *testing.T) {
	trash := &Trash{limits: Limits{MaxBytes: 100, MaxAge: 10}}
	rapid.Check(t, func(t *rapid.T) {
		var list, without []Entry
		for i := range rapid.IntRange(0, 12).Draw(t, "n") {
			e := Entry{Seq: int64(100 - i), UsedBytes: rapid.Int64Range(0, 120).Draw(t, "bytes"), Session: rapid.Bool().Draw(t, "session")}
			if rapid.IntRange(0, 4).Draw(t, "saved") == 0 {
				e.NotSaved = "x"
			}
			e.held = time.Duration(20 - i)
			list = append(list, e)
			if !e.Session {
				without = append(without, e)
			}
		}
		now := time.Duration(rapid.Int64Range(0, 40).Draw(t, "now"))
		gone := map[int64]bool{}
		for _, e := range trash.over(list, now) {
			gone[e.Seq] = true
		}
		goneWithout := map[int64]bool{}
		for _, e := range trash.over(without, now) {
			goneWithout[e.Seq] = true
		}
		cut, first := map[bool]bool{}, true
		for i, e := range list {
			switch {
			case gone[e.Seq] && (i == 0 || e.NotSaved != ""):
				t.Fatalf("Bound would remove %+v", e)
			case !e.Session && gone[e.Seq] != goneWithout[e.Seq]:
				t.Fatalf("sessions change what happens to %+v", e)
			case !e.Session && e.NotSaved == "" && first:
				if first = false; gone[e.Seq] {
					t.Fatalf("the newest deletion %+v would go", e)
				}
			case e.NotSaved == "" && !gone[e.Seq] && cut[e.Session]:
				t.Fatalf("Bound would keep %+v and remove a newer one", e)
			}
			cut[e.Session] = cut[e.Session] || gone[e.Seq]
		}
	})
}

func FuzzParseEntry(f *testing.F) {
	f.Add("000000000001.20260102T030405Z.0.0123456789abcdef.x.-")
	f.Add("000000000001.20260102T030405Z.12.0123456789abcdef..sn")
	f.Add("20250102T030405.000000006Z-0123456789abcdef")
	f.Fuzz(func(t *testing.T, s string) {
		if n, ok := parseEntry(s); ok && (n.String() != s || filepath.Base(s) != s) {
			t.Errorf("parseEntry(%q) = %+v", s, n)
		}
	})
}
