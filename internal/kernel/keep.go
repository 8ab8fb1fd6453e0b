package kernel

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"banger/internal/cas"
)

// Keep returns the kernel with digest out of the directory base, which no cleaner
// of caches empties. What is not there yet is taken from this store. A VM that was
// made with it needs nothing else of it.
func (s *Store) Keep(ctx context.Context, base, digest string) (Kernel, error) {
	kept, err := cas.Open(filepath.Join(base, "kernels"), nil)
	if err != nil {
		return Kernel{}, fmt.Errorf("keep the kernel: %w", err)
	}
	k, err := fromEntry(kept.Keep(ctx, s.cas, digest))
	if err != nil {
		return k, err
	}
	s.shareInitrds(k)
	return k, nil
}

// RemoveSuperseded removes the kernels that a newer one has taken the place of, if no VM's
// record needs them and nobody holds them.
func (s *Store) RemoveSuperseded() error { return s.cas.RemoveSuperseded() }

// Prune removes from base the kernels that inUse does not name. Nobody may be
// making a VM meanwhile.
func Prune(ctx context.Context, base string, inUse func(digest string) bool) error {
	kept, err := cas.Open(filepath.Join(base, "kernels"), nil)
	if err != nil {
		return err
	}
	return kept.Prune(ctx, inUse)
}

// shareInitrds takes over what the cache has packed for the kernel; what can't be
// linked is packed again.
func (s *Store) shareInitrds(k Kernel) {
	if own, _ := filepath.Glob(filepath.Join(k.Dir, initrdGlob)); len(own) > 0 {
		return
	}
	cached := filepath.Join(s.cas.Dir(), strings.TrimPrefix(k.Digest, "sha256:"))
	packed, _ := filepath.Glob(filepath.Join(cached, initrdGlob))
	for _, path := range packed {
		os.Link(path, filepath.Join(k.Dir, filepath.Base(path)))
	}
}
