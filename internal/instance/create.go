package instance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"time"

	"banger/internal/disk"
	"banger/internal/durable"
	"banger/internal/fault"
	"banger/internal/paths"
	"banger/internal/progress"
	"banger/internal/store"
	"banger/internal/supervisor"
	"banger/internal/vm"
	"banger/internal/vmm"
)

// CreateOptions say what a new VM is and what comes after its making.
type CreateOptions struct {
	// Spec's zero fields take the host's defaults; an empty name is made up.
	Spec vm.Spec
	// Holder, if it is set, is the process that the VM is tied to: when it is gone,
	// the VM is deleted (--rm).
	Holder *vm.Process
	// Env are the caller's variables, of which mirrors.Variables are kept with the VM.
	Env   []string
	Start bool
	StartOptions
}

// Create makes a VM, and starts it if that is asked. A VM that was not answered
// for, because its making failed or the caller went away, is undone. One whose
// guest did not come up is kept for a look, tied to no session, and the error is
// a *BootError. While too many VMs have work that was not saved it is a *BoundError.
func (s *Set) Create(ctx context.Context, o CreateOptions, step progress.Func) (*Instance, error) {
	spec, choice, err := s.complete(ctx, o.Spec)
	if err != nil {
		return nil, err
	}
	for _, f := range spec.Network.Publish {
		if err := supervisor.CheckForward(f); o.Start && err != nil {
			return nil, &vm.FieldError{Field: "publish", Err: err}
		}
	}
	if err := s.refuseUnsaved(); err != nil {
		return nil, err
	}
	rec := vm.Record{Format: vm.RecordFormat, ID: s.newID(), Spec: spec, State: vm.Created, CreatedAt: time.Now().UTC()}
	if o.Holder != nil {
		rec.Remove, rec.Holder = true, o.Holder
	}
	if rec, err = s.reserve(ctx, rec); err != nil {
		return nil, err
	}
	i := s.newInstance(rec)
	v := verb{name: "create", rank: rankOther, key: "create", clears: true}
	err = i.do(ctx, v, step, func(ctx context.Context, step progress.Func) error {
		return i.create(ctx, step, choice, o)
	})
	return i, err
}

// create is the first operation of a new VM.
func (i *Instance) create(ctx context.Context, step progress.Func, choice vmm.Choice, o CreateOptions) error {
	if err := i.prepare(ctx, step, choice, o.Env); err != nil {
		return errors.Join(err, i.undo())
	}
	i.watchHolder()
	if !o.Start {
		return nil
	}
	err := i.start(ctx, step, o.StartOptions)
	var boot *BootError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &boot):
		boot.Kept = true
		return errors.Join(err, i.Keep())
	case !i.View().Live() && ctx.Err() == nil, errors.Is(context.Cause(ctx), errAbandoned):
		return errors.Join(err, i.undo())
	}
	return err
}

// complete fills in the host's defaults and refuses what can't be meant.
func (s *Set) complete(ctx context.Context, spec vm.Spec) (vm.Spec, vmm.Choice, error) {
	hostMiB := hostMemMiB()
	def := vm.Defaults(runtime.NumCPU(), hostMiB)
	fill(&spec.Image, def.Image)
	fill(&spec.Kernel, def.Kernel)
	fill(&spec.Driver, def.Driver)
	fill(&spec.VCPUs, def.VCPUs)
	fill(&spec.MemMiB, def.MemMiB)
	fill(&spec.DiskMiB, def.DiskMiB)
	if spec.TZ == vm.ZoneNone {
		spec.TZ = ""
	}
	if err := spec.Check(); err != nil {
		return spec, vmm.Choice{}, err
	}
	if err := fitsHost(spec); err != nil {
		return spec, vmm.Choice{}, err
	}
	c, err := s.cfg.Network()
	if err == nil {
		with := spec.Network
		with.Mode = cmp.Or(with.Mode, c.Net)
		err = with.Check()
	}
	if err == nil {
		_, err = networkOf(spec.Network, c) // are the rules sound?
	}
	if err != nil {
		return spec, vmm.Choice{}, err
	}
	if err := supervisor.CheckZone(spec.TZ); err != nil {
		return spec, vmm.Choice{}, err
	}
	choice, err := s.cfg.Drivers.Choose(ctx, spec.Driver, spec.VCPUs)
	if unknown := (*vmm.UnknownDriverError)(nil); errors.As(err, &unknown) {
		err = &vm.FieldError{Field: "vmm", Err: err}
	}
	return spec, choice, err
}

// fitsHost refuses a machine that the host could never hold.
func fitsHost(spec vm.Spec) error {
	if hostMiB := hostMemMiB(); hostMiB > 0 && spec.MemMiB > hostMiB {
		return &vm.FieldError{Field: "memory", Err: fmt.Errorf("%s is more than the host's %s", vm.FormatMiB(spec.MemMiB), vm.FormatMiB(hostMiB))}
	}
	return nil
}

// fill sets *field to def if it is its type's zero.
func fill[T comparable](field *T, def T) {
	var zero T
	if *field == zero {
		*field = def
	}
}

// reserve inserts the row and so takes the name; it makes a name up if none is
// given.
func (s *Set) reserve(ctx context.Context, rec vm.Record) (vm.Record, error) {
	s.dropRows()
	insert := func() error {
		return fault.Do("create.row", func() error { return s.store.Insert(ctx, rec) })
	}
	if rec.Spec.Name != "" {
		return rec, insert()
	}
	for {
		rec.Spec.Name = newName()
		if err := insert(); !errors.Is(err, store.ErrNameTaken) {
			return rec, err
		}
	}
}

// prepare gets image, kernel and disk. The digests are recorded last: a record
// without them is a create that was cut.
func (i *Instance) prepare(ctx context.Context, step progress.Func, choice vmm.Choice, env []string) error {
	rec := i.View().Record
	base, err := i.set.ensureBase(ctx, rec.Spec, choice.Driver, step)
	if err != nil {
		return err
	}
	if least := (base.image.SizeBytes + 1<<20 - 1) >> 20; rec.Spec.DiskMiB < least {
		return &vm.FieldError{Field: "disk-size", Err: fmt.Errorf("%s is less than the file system of image %s, which has %s", vm.FormatMiB(rec.Spec.DiskMiB), rec.Spec.Image, vm.FormatMiB(least))}
	}
	if err := fault.Do("create.dir", func() error { return durable.Mkdir(i.Dir()) }); err != nil {
		return fmt.Errorf("make the directory of VM %q: %w", rec.Spec.Name, err)
	}
	if err := fault.Do("create.file", func() error { return store.WriteFile(i.Dir(), rec) }); err != nil {
		return err
	}
	if err := i.keepEnvironment(env); err != nil {
		return err
	}
	err = fault.Do("create.disk", func() error {
		return disk.Create(ctx, filepath.Join(i.Dir(), paths.DiskFile), rec.Spec.DiskMiB)
	})
	if err != nil {
		return fmt.Errorf("make the disk of VM %q: %w", rec.Spec.Name, err)
	}
	if err := cause(ctx); err != nil {
		return err
	}
	return i.move("", func(r *vm.Record) { r.ImageDigest, r.KernelDigest = base.image.Digest, base.kernel.Digest })
}

// undo takes a VM back that was never answered for: nothing of it stays. A run
// of it is ended by an operation of its own.
func (i *Instance) undo() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.View().HasRun {
		return i.removeLocked(true)
	}
	i.slot.spawn(verb{name: "undo", key: "undo", goesOn: true}, func(ctx context.Context, step progress.Func) error {
		if err := i.note(vm.Delete, func(r *vm.Record) { r.Discard = true }); err != nil {
			return err
		}
		if err := i.end(ctx, step, supervisor.Stop{Discard: true, Cancelled: true}); err != nil {
			return err
		}
		return i.delete(ctx, step, DeleteOptions{Force: true, Discard: true})
	})
	return nil
}
