package instance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"banger/internal/builder"
	"banger/internal/image"
	"banger/internal/progress"
	"banger/internal/vm"
)

// prepareImage gets what writeImage boots from.
func (s *Set) prepareImage(ctx context.Context, step progress.Func) error {
	_, err := s.kernels.Ensure(ctx, vm.DefKernel, step)
	return err
}

// writeImage writes an image's file system: by mke2fs if that can keep all that the tree
// has, else in a builder's guest, on the VMM that a VM would get, with the default kernel.
// The guest needs less of the host, and so takes over what mke2fs could not do here.
func (s *Set) writeImage(ctx context.Context, tree *os.File, path, dir string, step progress.Func) (entries int, err error) {
	step(progress.Step{Stage: "image", Text: "writing the file system"})
	stats, err := builder.WritePlain(ctx, tree, path, filepath.Join(dir, image.NoteFile))
	if err == nil || ctx.Err() != nil || errors.Is(err, unix.ENOSPC) {
		return stats.Entries, err
	}
	step(progress.Step{Stage: "image", Text: fmt.Sprintf("starting a guest that writes the file system (%.300v)", err)})
	if _, err := tree.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
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
	stats, err = builder.Write(ctx, b, tree, path, dir, func(done, all int64) {
		step(progress.Step{Stage: "image", Text: "writing the file system", Done: done, Total: all, Unit: "bytes"})
	})
	return stats.Entries, err
}
