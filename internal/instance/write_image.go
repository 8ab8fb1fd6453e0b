package instance

import (
	"context"
	"os"

	"banger/internal/builder"
	"banger/internal/progress"
	"banger/internal/vm"
)

// prepareImage gets what writeImage boots from.
func (s *Set) prepareImage(ctx context.Context, step progress.Func) error {
	_, err := s.kernels.Ensure(ctx, vm.DefKernel, step)
	return err
}

// writeImage writes an image's file system in a builder's guest, on the VMM that a VM
// would get, with the default kernel.
func (s *Set) writeImage(ctx context.Context, tree *os.File, path, dir string, step progress.Func) (entries int, err error) {
	step(progress.Step{Stage: "image", Text: "starting a guest that writes the file system"})
	choice, err := s.cfg.Drivers.Choose(ctx, vm.DriverAuto, 1)
	if err != nil {
		return 0, err
	}
	b := builder.Boot{Found: choice.Found}
	if b.Driver, err = s.cfg.Drivers.Find(choice.Driver); err != nil {
		return 0, err
	}
	k, release, err := s.kernels.EnsureHeld(ctx, vm.DefKernel, step)
	if err != nil {
		return 0, err
	}
	defer release()
	b.Kernel = k.Vmlinux
	if b.Initrd, err = s.kernels.Initrd(ctx, k, s.cfg.Agent); err != nil {
		return 0, err
	}
	stats, err := builder.Write(ctx, b, tree, path, dir, func(done, all int64) {
		step(progress.Step{Stage: "image", Text: "writing the file system", Done: done, Total: all, Unit: "bytes"})
	})
	return stats.Entries, err
}
