package instance

import (
	"context"
	"fmt"

	"banger/internal/fault"
	"banger/internal/hint"
	"banger/internal/image"
	"banger/internal/kernel"
	"banger/internal/progress"
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
func (s *Set) ensureBase(ctx context.Context, spec vm.Spec, driver string, step progress.Func) (base, error) {
	if s.bootsNothing(driver) {
		return base{image.Image{Digest: noBase}, kernel.Kernel{Digest: noBase}}, nil
	}
	img, err := s.images.Ensure(ctx, spec.Image, step)
	if err != nil {
		return base{}, err
	}
	k, err := s.kernels.Ensure(ctx, spec.Kernel, step)
	if err != nil {
		return base{}, err
	}
	return s.keepBase(img.Digest, k.Digest)
}

// baseOf returns what the VM was made from.
func (s *Set) baseOf(rec vm.Record) (base, error) {
	if rec.ImageDigest == noBase {
		return base{image.Image{Digest: noBase}, kernel.Kernel{Digest: noBase}}, nil
	}
	b, err := s.keepBase(rec.ImageDigest, rec.KernelDigest)
	if err != nil {
		return b, fmt.Errorf("find what VM %q was made from: %w", rec.Spec.Name, err)
	}
	return b, nil
}

func (s *Set) keepBase(imageDigest, kernelDigest string) (b base, err error) {
	err = fault.Do("base.image", func() (err error) {
		b.image, err = s.images.Keep(s.cfg.Dirs.Base(), imageDigest)
		return err
	})
	if err != nil {
		return b, hint.Add(err, "banger image build")
	}
	err = fault.Do("base.kernel", func() (err error) {
		b.kernel, err = s.kernels.Keep(s.cfg.Dirs.Base(), kernelDigest)
		return err
	})
	return b, hint.Add(err, "banger kernel pull")
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
