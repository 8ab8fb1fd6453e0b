package cas

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestKeep(t *testing.T) {
	ctx := context.Background()
	cache, base := filepath.Join(t.TempDir(), "cache"), filepath.Join(t.TempDir(), "base")
	from, err := Open(cache, nil)
	if err != nil {
		t.Fatal(err)
	}
	to, err := Open(base, nil)
	if err != nil {
		t.Fatal(err)
	}
	made, err := from.Ensure(ctx, Order{Ref: "x", Make: func(_ context.Context, tmp string) (any, error) {
		return map[string]string{"a": "b"}, os.WriteFile(filepath.Join(tmp, "file"), []byte("text"), 0o600)
	}})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		e, err := to.Keep(ctx, from, made.Digest)
		if err != nil || e.Digest != made.Digest || string(e.Meta) == "" {
			t.Fatalf("Keep: %+v, %v", e, err)
		}
	}
	// A damaged one is taken anew; the file is the cache's too, so it is replaced.
	kept := filepath.Join(base, filepath.Base(made.Dir), "file")
	os.Remove(kept)
	if _, err := to.Keep(ctx, from, made.Digest); err != nil {
		t.Errorf("Keep of a damaged one: %v", err)
	}
	os.RemoveAll(cache)
	if e, err := to.Keep(ctx, from, made.Digest); err != nil || e.Dir != filepath.Dir(kept) {
		t.Errorf("Keep without a cache: %+v, %v", e, err)
	}
	if err := to.Prune(ctx, func(d string) bool { return d == made.Digest }); err != nil {
		t.Error(err)
	}
	if _, err := to.ByDigest(made.Digest); err != nil {
		t.Errorf("Prune removed what is in use: %v", err)
	}
	if err := to.Prune(ctx, func(string) bool { return false }); err != nil {
		t.Error(err)
	}
	if _, err := to.Keep(ctx, from, made.Digest); !errors.Is(err, ErrNotFound) {
		t.Errorf("Keep of what nobody has: %v", err)
	}
}

func TestCopySparse(t *testing.T) {
	dir := t.TempDir()
	in, err := os.Create(filepath.Join(dir, "in"))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	in.WriteAt([]byte("x"), 1<<20)
	in.Truncate(4 << 20)
	out, err := os.Create(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := copySparse(out, in); err != nil {
		t.Fatal(err)
	}
	a, _ := os.ReadFile(in.Name())
	b, _ := os.ReadFile(out.Name())
	if string(a) != string(b) {
		t.Error("the copy differs")
	}
}
