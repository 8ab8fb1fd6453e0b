package instance

import (
	"context"
	"errors"
	"fmt"

	"banger/internal/fault"
	"banger/internal/hint"
	"banger/internal/image"
	"banger/internal/kernel"
	"banger/internal/progress"
	"banger/internal/store"
	"banger/internal/vm"
	"banger/internal/vmm"
)

// base is what a VM boots from. Its files lie in the state directory for as
// long as a record names them: what is only in the cache may be gone tomorrow.
type base struct {
	image  image.Image
	kernel kernel.Kernel
}

// noBase is the digest of a VM whose driver boots nothing.
const noBase = "none"

// ensureBase makes the image and the kernel that spec asks for, if they are
// missing, and keeps them.
func (s *Set) ensureBase(ctx context.Context, spec vm.Spec, driver string, step progress.Func) (b base, err error) {
	if s.bootsNothing(driver) {
		return base{image.Image{Digest: noBase}, kernel.Kernel{Digest: noBase}}, nil
	}
	for range 3 { // what is superseded between the two is gone
		img, err := s.images.Ensure(ctx, spec.Image, step)
		if err != nil {
			return base{}, err
		}
		k, err := s.kernels.Ensure(ctx, spec.Kernel, step)
		if err != nil {
			return base{}, err
		}
		b, err = s.keepBase(ctx, img.Digest, k.Digest)
		if !errors.Is(err, image.ErrNotFound) && !errors.Is(err, kernel.ErrNotFound) {
			return b, err
		}
	}
	return b, err
}

// baseOf returns what the VM was made from.
func (s *Set) baseOf(ctx context.Context, rec vm.Record) (base, error) {
	if rec.ImageDigest == noBase {
		return base{image.Image{Digest: noBase}, kernel.Kernel{Digest: noBase}}, nil
	}
	b, err := s.keepBase(ctx, rec.ImageDigest, rec.KernelDigest)
	if err != nil {
		return b, fmt.Errorf("find what VM %q was made from: %w", rec.Spec.Name, err)
	}
	return b, nil
}

func (s *Set) keepBase(ctx context.Context, imageDigest, kernelDigest string) (b base, err error) {
	err = fault.Do("base.image", func() (err error) {
		b.image, err = s.images.Keep(ctx, s.cfg.Dirs.Base(), imageDigest)
		return err
	})
	if err != nil {
		return b, hint.Add(err, "banger image build")
	}
	err = fault.Do("base.kernel", func() (err error) {
		b.kernel, err = s.kernels.Keep(ctx, s.cfg.Dirs.Base(), kernelDigest)
		return err
	})
	return b, hint.Add(err, "banger kernel pull")
}

// pruneBase removes images and kernels that no VM was made from any more, deleted
// ones in the trash included, and then those of the cache that are superseded. Where one
// of their records can't be read, all stay.
func (s *Set) pruneBase(ctx context.Context, recs []vm.Record) error {
	used := map[string]bool{}
	for _, rec := range recs {
		used[rec.ImageDigest], used[rec.KernelDigest] = true, true
	}
	entries, err := s.trash.List()
	if err != nil {
		return err
	}
	for _, e := range entries {
		rec, err := store.ReadFile(e.Dir)
		if err != nil {
			return err
		}
		used[rec.ImageDigest], used[rec.KernelDigest] = true, true
	}
	inUse := func(digest string) bool { return used[digest] }
	return fault.Do("base.prune", func() error {
		return errors.Join(image.Prune(ctx, s.cfg.Dirs.Base(), inUse), kernel.Prune(ctx, s.cfg.Dirs.Base(), inUse),
			s.images.RemoveSuperseded(), s.kernels.RemoveSuperseded())
	})
}

// bootsNothing reports whether the driver needs no kernel and no image.
func (s *Set) bootsNothing(driver string) bool {
	d, err := s.cfg.Drivers.Find(driver)
	if err != nil {
		return false
	}
	k, ok := d.(vmm.Kernelless)
	return ok && k.Kernelless()
}
