package cas

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"banger/internal/durable"
)

// Drop removes ref, and what it stands for unless another ref stands for it too. It
// takes its turn with the makers. A thing that is damaged can be dropped.
func (s *Store) Drop(ctx context.Context, ref string) error {
	if !validRef(ref) {
		return fmt.Errorf("%.80q: %w", ref, ErrNotFound)
	}
	unlock, err := s.lock(ctx, nil)
	if err != nil {
		return err
	}
	defer unlock()
	digest, err := s.refDigest(ref)
	if err != nil {
		return err
	}
	refs := filepath.Join(s.dir, refsDir)
	names, err := os.ReadDir(refs)
	if err != nil {
		return err
	}
	dir, known := s.dirOf(digest)
	for _, n := range names {
		if other, err := s.refDigest(n.Name()); n.Name() != ref && (err != nil || other == digest) {
			known = false // it is another's too, or may be
		}
	}
	if err := os.Remove(filepath.Join(refs, ref)); err != nil {
		return err
	}
	if err := durable.SyncDir(refs); err != nil || !known {
		return err
	}
	return s.remove(dir)
}

// refDigest reads the digest that ref stands for.
func (s *Store) refDigest(ref string) (string, error) {
	text, err := os.ReadFile(filepath.Join(s.dir, refsDir, ref))
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%q: %w", ref, ErrNotFound)
	}
	return strings.TrimSpace(string(text)), err
}
