package cas

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("CAS_TEST_MAKER"); dir != "" { // another process's maker
		s, err := Open(dir, nil)
		if err == nil {
			_, err = s.Ensure(context.Background(), slow("thing"))
		}
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// slow makes a thing that says which process made it, and takes its time: the
// file that it is told by is there at once.
func slow(ref string) Order {
	return Order{Ref: ref, Make: func(_ context.Context, tmp string) (any, error) {
		if err := os.WriteFile(filepath.Join(tmp, "file"), fmt.Append(nil, "made by ", os.Getpid(), " at ", time.Now().UnixNano()), 0o600); err != nil {
			return nil, err
		}
		time.Sleep(300 * time.Millisecond) // the work
		return nil, nil
	}}
}

func open(t *testing.T) *Store {
	t.Helper()
	s, err := Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// order makes files of the given contents, with "about" as what is kept.
func order(ref string, files map[string]string) Order {
	return Order{Ref: ref, Make: func(_ context.Context, tmp string) (any, error) {
		for name, text := range files {
			if err := os.WriteFile(filepath.Join(tmp, name), []byte(text), 0o600); err != nil {
				return nil, err
			}
		}
		return "about", nil
	}}
}

func ensure(t *testing.T, s *Store, o Order) Entry {
	t.Helper()
	e, err := s.Ensure(context.Background(), o)
	if err != nil {
		t.Fatalf("Ensure(%q): %v", o.Ref, err)
	}
	return e
}

// contents lists what lies in the store but its lock and refs.
func contents(t *testing.T, s *Store) []string {
	t.Helper()
	list, err := os.ReadDir(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range list {
		if e.Name() != lockFile && e.Name() != refsDir {
			out = append(out, e.Name())
		}
	}
	return out
}

func TestMakeAndFind(t *testing.T) {
	s := open(t)
	if _, err := s.Get("one"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get of nothing: %v, want ErrNotFound", err)
	}
	one := ensure(t, s, order("one", map[string]string{"file": "hello\n"}))
	// A single file's digest is its own.
	if want := "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"; one.Digest != want {
		t.Errorf("Digest = %s, want %s", one.Digest, want)
	}
	two := ensure(t, s, order("two", map[string]string{"a": "1", "b": "2"}))
	for ref, want := range map[string]Entry{"one": one, "two": two} {
		for what, get := range map[string]func() (Entry, error){
			"Get":      func() (Entry, error) { return s.Get(ref) },
			"ByDigest": func() (Entry, error) { e, err := s.ByDigest(want.Digest); e.Ref = ref; return e, err },
			"Ensure":   func() (Entry, error) { return s.Ensure(context.Background(), order(ref, nil)) },
		} {
			if got, err := get(); err != nil || !cmp.Equal(got, want) {
				t.Errorf("%s(%q) = %+v, %v; want %+v", what, ref, got, err, want)
			}
		}
	}
	var about string
	if json.Unmarshal(one.Meta, &about) != nil || about != "about" {
		t.Errorf("Meta = %s", one.Meta)
	}
	if list, err := s.List(); err != nil || len(list) != 2 || list[0].Ref != "one" || list[1].Ref != "two" {
		t.Errorf("List = %+v, %v", list, err)
	}
	for _, bad := range []string{"", ".", "..", "../one", "refs/one", "One", "a b", "a\x00", strings.Repeat("a", 200)} {
		if _, err := s.Get(bad); !errors.Is(err, ErrNotFound) {
			t.Errorf("Get(%q): %v, want ErrNotFound", bad, err)
		}
		if _, err := s.Ensure(context.Background(), order(bad, map[string]string{"f": ""})); err == nil {
			t.Errorf("Ensure(%q): no error", bad)
		}
	}
	for _, bad := range []string{"", "sha256:", "sha256:..", one.Digest[7:], strings.ToUpper(one.Digest), one.Digest + "0", "md5:" + one.Digest[7:]} {
		if _, err := s.ByDigest(bad); !errors.Is(err, ErrNotFound) {
			t.Errorf("ByDigest(%q): %v, want ErrNotFound", bad, err)
		}
	}
}

// A new thing takes the ref over; who holds the old one keeps it.
func TestAnew(t *testing.T) {
	s := open(t)
	old := ensure(t, s, order("r", map[string]string{"f": "old"}))
	o := order("r", map[string]string{"f": "new"})
	if e := ensure(t, s, o); e.Digest != old.Digest {
		t.Errorf("Ensure made it anew without being asked")
	}
	o.Anew = true
	release, err := s.Hold(old.Digest)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if e := ensure(t, s, o); e.Digest == old.Digest {
		t.Errorf("Ensure(Anew) = the old one")
	}
	if _, err := s.ByDigest(old.Digest); err != nil {
		t.Errorf("the old one is gone: %v", err)
	}
	o = order("r", map[string]string{"f": "old"})
	o.Anew = true
	if e := ensure(t, s, o); e.Digest != old.Digest || len(contents(t, s)) != 1 {
		t.Errorf("making the same again gave %+v and leaves %v", e, contents(t, s))
	}
}

func TestFailuresLeaveNothing(t *testing.T) {
	s := open(t)
	boom := errors.New("boom")
	ctx, cancel := context.WithCancel(context.Background())
	for what, make := range map[string]func(context.Context, string) (any, error){
		"an error":       func(_ context.Context, tmp string) (any, error) { return nil, boom },
		"a cancellation": func(_ context.Context, tmp string) (any, error) { cancel(); return nil, nil },
		"nothing made":   func(_ context.Context, tmp string) (any, error) { return nil, nil },
		"a directory": func(_ context.Context, tmp string) (any, error) {
			return nil, os.Mkdir(filepath.Join(tmp, "dir"), 0o700)
		},
	} {
		c := context.Background()
		if what == "a cancellation" {
			c = ctx
		}
		if e, err := s.Ensure(c, Order{Ref: "r", Make: make}); err == nil {
			t.Errorf("%s: Ensure = %+v, want an error", what, e)
		}
		if left := contents(t, s); len(left) != 0 {
			t.Errorf("%s left %v", what, left)
		}
	}
	_, err := s.Ensure(context.Background(), Order{Ref: "r", SpaceMiB: 1 << 40, Make: order("r", nil).Make})
	if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), s.dir) {
		t.Errorf("Ensure without space: %v; want ENOSPC and the path", err)
	}
}

func TestDamageIsSeenAndMended(t *testing.T) {
	for what, damage := range map[string]func(dir string) error{
		"a changed byte": func(dir string) error { return os.WriteFile(filepath.Join(dir, "f"), []byte("Text"), 0o600) },
		"a cut file":     func(dir string) error { return os.Truncate(filepath.Join(dir, "f"), 1) },
		"a missing file": func(dir string) error { return os.Remove(filepath.Join(dir, "f")) },
		"a cut record":   func(dir string) error { return os.Truncate(filepath.Join(dir, metaFile), 10) },
		"another's record": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, metaFile), []byte(`{"digest":"sha256:0","files":{}}`), 0o600)
		},
		"no record": func(dir string) error { return os.Remove(filepath.Join(dir, metaFile)) },
	} {
		s := open(t)
		e := ensure(t, s, order("r", map[string]string{"f": "text"}))
		if err := damage(e.Dir); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get("r"); !missing(err) {
			t.Errorf("%s: Get: %v, want ErrDamaged or ErrNotFound", what, err)
		}
		if list, err := s.List(); err != nil || len(list) != 0 {
			t.Errorf("%s: List = %+v, %v; want none", what, list, err)
		}
		if again := ensure(t, s, order("r", map[string]string{"f": "text"})); again.Digest != e.Digest {
			t.Errorf("%s: mended as %s, want %s", what, again.Digest, e.Digest)
		}
		if left := contents(t, s); len(left) != 1 {
			t.Errorf("%s: mending leaves %v", what, left)
		}
	}
}

// Files are hashed when their stamps changed, and then not again.
func TestVerifiedWhenChanged(t *testing.T) {
	s := open(t)
	e := ensure(t, s, order("r", map[string]string{"f": "text"}))
	stamps := filepath.Join(e.Dir, stampFile)
	read := func() string {
		b, _ := os.ReadFile(stamps)
		return string(b)
	}
	before := read()
	if err := os.Chtimes(filepath.Join(e.Dir, "f"), time.Time{}, time.Unix(5, 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get("r"); err != nil || read() == before {
		t.Errorf("Get after a touch: %v; stamps changed: %v", err, read() != before)
	}
	for _, bad := range []string{"", "{", "null"} {
		os.WriteFile(stamps, []byte(bad), 0o600)
		if _, err := s.Get("r"); err != nil {
			t.Errorf("Get with the stamps %q: %v", bad, err)
		}
	}
	// A read-only store can be read.
	os.Remove(stamps)
	os.Chmod(e.Dir, 0o500)
	defer os.Chmod(e.Dir, 0o700)
	if _, err := s.Get("r"); err != nil {
		t.Errorf("Get from a read-only directory: %v", err)
	}
}

func TestManyAtOnceMakeOnce(t *testing.T) {
	s := open(t)
	var made, waited atomic.Int32
	o := slow("thing")
	inner := o.Make
	o.Make = func(ctx context.Context, tmp string) (any, error) { made.Add(1); return inner(ctx, tmp) }
	o.Waiting = func() { waited.Add(1) }
	for _, anew := range []bool{false, true} {
		made.Store(0)
		waited.Store(0)
		o.Anew = anew
		var wg sync.WaitGroup
		digests := make([]string, 6)
		for i := range digests {
			wg.Go(func() { digests[i] = ensure(t, s, o).Digest })
		}
		wg.Wait()
		slices.Sort(digests)
		if len(slices.Compact(digests)) != 1 || made.Load() != 1 || waited.Load() != 5 {
			t.Errorf("anew %v: made %d times, %d waited, digests %v; want 1, 5, one", anew, made.Load(), waited.Load(), digests)
		}
	}
}

func TestProcessesTakeTurns(t *testing.T) {
	s := open(t)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), "CAS_TEST_MAKER="+s.dir)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("another maker: %v: %s", err, out)
			}
		})
	}
	wg.Wait()
	if left := contents(t, s); len(left) != 1 {
		t.Errorf("three processes made %v, want one thing", left)
	}
}

func TestWaitingCanBeGivenUp(t *testing.T) {
	s := open(t)
	f, err := s.openLock()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if _, err := s.Ensure(ctx, order("r", map[string]string{"f": ""})); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Ensure behind another's lock: %v", err)
	}
	f.Close()
	ensure(t, s, order("r", map[string]string{"f": ""}))
}

func TestSweep(t *testing.T) {
	dir := t.TempDir()
	left := filepath.Join(dir, tmpPrefix+"killed")
	if err := os.MkdirAll(left, 0o700); err != nil {
		t.Fatal(err)
	}
	var swept []string
	sweep := func(tmp string) error { swept = append(swept, tmp); return nil }
	// Another maker is at work: its things stay.
	s, err := Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	s.dir = dir
	f, err := s.openLock()
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, sweep); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); err != nil || len(swept) != 0 {
		t.Errorf("Open swept %v while another was at work (%v)", swept, err)
	}
	f.Close()
	if _, err := Open(dir, sweep); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); !os.IsNotExist(err) || !slices.Equal(swept, []string{left}) {
		t.Errorf("Open swept %v, left: %v", swept, err)
	}
}
