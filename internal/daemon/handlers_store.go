package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"

	"banger/internal/api"
	"banger/internal/disk"
	"banger/internal/hint"
	"banger/internal/image"
	"banger/internal/kernel"
	"banger/internal/network/names"
	"banger/internal/process"
	"banger/internal/progress"
	"banger/internal/vm"
)

func (d *Daemon) showDaemon(context.Context, request, api.None) (api.Daemon, error) {
	out := api.Daemon{
		Version: api.ProgramVersion(), API: api.Version, PID: os.Getpid(), StartedAt: d.started,
		Socket: d.cfg.Dirs.Socket(), StateDir: d.cfg.Dirs.State, CacheDir: d.cfg.Dirs.Cache,
		LogFile: d.cfg.Dirs.DaemonLog(), RSSKiB: process.RSSKiB(os.Getpid()), Goroutines: runtime.NumGoroutine(),
	}
	out.Names = names.Addr
	if err := d.names.Err(); err != nil {
		out.NamesProblem = err.Error()
	}
	for _, i := range d.set.All() {
		out.VMs++
		if i.View().HasRun {
			out.Running++
		}
	}
	if fds, err := os.ReadDir("/proc/self/fd"); err == nil {
		out.Descriptors = len(fds)
	}
	return out, nil
}

func (d *Daemon) stopDaemon(context.Context, request, api.None) (api.None, error) {
	d.Quit()
	return api.None{}, nil
}

func showImage(i image.Image) api.Image {
	return api.Image{Ref: i.Ref, Digest: i.Digest, SizeBytes: i.SizeBytes, CreatedAt: i.CreatedAt,
		Source: i.Source, Packages: i.Packages, Default: i.Ref == vm.DefImage, Outdated: i.Outdated, Path: i.Path}
}

func (d *Daemon) listImages(context.Context, request, api.None) ([]api.Image, error) {
	list, err := d.set.Images().List()
	return each(list, showImage), err
}

func (d *Daemon) buildImage(ctx context.Context, _ request, in api.ImageBuild, step progress.Func) (api.Image, error) {
	if in.Ref == "" {
		in.Ref = vm.DefImage
	}
	i, err := d.set.Images().Build(ctx, in.Ref, in.Packages, step)
	if name := (*image.NameError)(nil); errors.As(err, &name) {
		field := "name"
		if name.Package {
			field = "package"
		}
		err = &vm.FieldError{Field: field, Err: err}
	}
	return showImage(i), err
}

func (d *Daemon) showOneImage(_ context.Context, r request, _ api.None) (api.Image, error) {
	i, err := d.set.Images().Get(r.ref)
	if errors.Is(err, image.ErrNotFound) {
		err = hint.Add(err, "banger image list shows what there is")
	}
	if err != nil {
		return api.Image{}, err
	}
	out := showImage(i)
	out.UsedBy = d.set.ImageUsers(i)
	return out, nil
}

func (d *Daemon) deleteImage(ctx context.Context, r request, _ api.None) (api.Image, error) {
	i, err := d.set.DeleteImage(ctx, r.ref)
	return showImage(i), err
}

func showKernel(k kernel.Kernel) api.Kernel {
	return api.Kernel{Ref: k.Ref, Digest: k.Digest, Release: k.Release, SizeBytes: k.SizeBytes, CreatedAt: k.CreatedAt,
		Source: k.Source, Default: k.Ref == vm.DefKernel, Path: k.Dir}
}

func (d *Daemon) listKernels(context.Context, request, api.None) ([]api.Kernel, error) {
	list, err := d.set.Kernels().List()
	return each(list, showKernel), err
}

func (d *Daemon) pullKernel(ctx context.Context, _ request, in api.KernelPull, step progress.Func) (api.Kernel, error) {
	if in.Ref == "" {
		in.Ref = vm.DefKernel
	}
	k, err := d.set.Kernels().Pull(ctx, in.Ref, step)
	return showKernel(k), err
}

func showEntry(e disk.Entry) api.TrashEntry {
	return api.TrashEntry{ID: e.ID, Name: e.Name, DeletedAt: e.DeletedAt, UsedBytes: e.UsedBytes, NotSaved: e.NotSaved, Session: e.Session}
}

func (d *Daemon) listTrash(context.Context, request, api.None) ([]api.TrashEntry, error) {
	list, err := d.set.Trash()
	return each(list, showEntry), err
}

func (d *Daemon) emptyTrash(_ context.Context, _ request, in api.TrashEmpty) (api.TrashEmptied, error) {
	e, err := d.set.EmptyTrash(in.Refs...)
	if err != nil {
		return api.TrashEmptied{}, fmt.Errorf("empty the trash: %w", err)
	}
	return api.TrashEmptied{Entries: e.Entries, UsedBytes: e.UsedBytes, Kept: each(e.Kept, showEntry)}, nil
}

func (d *Daemon) restoreTrash(ctx context.Context, r request, in api.TrashRestore) (api.VM, error) {
	i, err := d.set.Restore(ctx, r.ref, in.Name)
	if err != nil {
		return api.VM{}, err
	}
	return show(i), nil
}

func each[A, B any](list []A, f func(A) B) []B {
	out := make([]B, 0, len(list))
	for _, a := range list {
		out = append(out, f(a))
	}
	return out
}
