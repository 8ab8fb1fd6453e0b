package cas

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// text is an order that makes one file, anew.
func text(ref, text string) Order {
	o := order(ref, map[string]string{"file": text})
	o.Anew = true
	return o
}

func TestSuperseded(t *testing.T) {
	ctx := context.Background()
	s, base := open(t), open(t)
	gone := func(e Entry, want bool) {
		t.Helper()
		_, err := s.ByDigest(e.Digest)
		if got := errors.Is(err, ErrNotFound); got != want {
			t.Errorf("ByDigest(%q): %v; want gone %v", e.Digest, err, want)
		}
		if _, err := os.Stat(e.Dir); os.IsNotExist(err) != want {
			t.Errorf("its directory: %v; want gone %v", err, want)
		}
	}
	unused, held := ensure(t, s, text("a", "1")), ensure(t, s, text("b", "held"))
	named := ensure(t, s, text("c", "named"))
	release, err := s.Hold(held.Digest)
	if err != nil {
		t.Fatal(err)
	}
	ensure(t, s, text("b", "2"))
	gone(unused, false) // its ref is there
	kept := ensure(t, s, text("a", "kept"))
	gone(unused, true)
	gone(held, false)
	if _, err := base.Keep(ctx, s, kept.Digest); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Hold(unused.Digest); !errors.Is(err, ErrNotFound) {
		t.Errorf("Hold of what is gone: %v", err)
	}
	last := ensure(t, s, text("a", "2")) // as another ref's
	gone(kept, false)
	release()
	// What keeps it is gone, and nothing newer is made.
	if err := base.Prune(ctx, func(string) bool { return false }); err != nil {
		t.Error(err)
	}
	if err := s.RemoveSuperseded(); err != nil {
		t.Error(err)
	}
	for e, want := range map[*Entry]bool{&kept: true, &held: true, &named: false, &last: false} {
		gone(*e, want)
	}
	if left, _ := filepath.Glob(filepath.Join(s.dir, tmpPrefix+"*")); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
}

// A removal that was cut left what the next Open removes, under no name.
func TestCutRemoval(t *testing.T) {
	s := open(t)
	old := ensure(t, s, text("a", "1"))
	tmp := filepath.Join(s.dir, tmpPrefix+"cut")
	if err := os.Rename(old.Dir, tmp); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ByDigest(old.Digest); !errors.Is(err, ErrNotFound) {
		t.Errorf("ByDigest: %v", err)
	}
	if _, err := Open(s.dir, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(tmp); !os.IsNotExist(err) {
		t.Errorf("a cut removal is still there: %v", err)
	}
}

// Who takes what a ref stands for gets it whole, or hears that it is gone, while newer
// ones are made.
func TestKeepWhileSuperseded(t *testing.T) {
	ctx := context.Background()
	s, base := open(t), open(t)
	ensure(t, s, text("a", "0"))
	var makers sync.WaitGroup
	makers.Go(func() {
		for n := range 200 {
			if _, err := s.Ensure(ctx, text("a", fmt.Sprint(n))); err != nil {
				t.Errorf("Ensure: %v", err)
			}
		}
	})
	for range 200 {
		e, err := s.Ensure(ctx, order("a", map[string]string{"file": "other"}))
		if err != nil {
			t.Fatalf("Ensure: %v", err)
		}
		if _, err := base.Keep(ctx, s, e.Digest); err != nil && !errors.Is(err, ErrNotFound) {
			t.Errorf("Keep: %v", err)
		}
	}
	makers.Wait()
}
