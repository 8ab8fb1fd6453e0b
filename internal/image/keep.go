package image

import (
	"context"
	"fmt"
	"path/filepath"

	"banger/internal/cas"
)

// Keep returns the image with digest out of the directory base, which no cleaner
// of caches empties. What is not there yet is taken from this store. A VM that was
// made with it needs nothing else of it.
func (s *Store) Keep(ctx context.Context, base, digest string) (Image, error) {
	kept, err := cas.Open(filepath.Join(base, "images"), nil)
	if err != nil {
		return Image{}, fmt.Errorf("keep the image: %w", err)
	}
	return fromEntry(kept.Keep(ctx, s.cas, digest))
}

// Kept returns an image that Keep has put into base.
func Kept(base, digest string) (Image, error) {
	kept, err := cas.Open(filepath.Join(base, "images"), nil)
	if err != nil {
		return Image{}, err
	}
	return fromEntry(kept.ByDigest(digest))
}

// RemoveSuperseded removes the images that a newer one has taken the place of, if no VM's
// record needs them and nobody holds them.
func (s *Store) RemoveSuperseded() error { return s.cas.RemoveSuperseded() }

// Prune removes from base the images that inUse does not name. Nobody may be
// making a VM meanwhile.
func Prune(ctx context.Context, base string, inUse func(digest string) bool) error {
	kept, err := cas.Open(filepath.Join(base, "images"), nil)
	if err != nil {
		return err
	}
	return kept.Prune(ctx, inUse)
}
