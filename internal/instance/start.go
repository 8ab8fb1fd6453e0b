package instance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"banger/internal/disk"
	"banger/internal/fault"
	"banger/internal/hint"
	"banger/internal/paths"
	"banger/internal/process"
	"banger/internal/progress"
	"banger/internal/supervisor"
	"banger/internal/vm"
	"banger/internal/vmm"
)

// StartOptions say how a VM is started.
type StartOptions struct {
	// Force starts it although the host's memory does not hold it.
	Force bool
	// System waits until the guest's init has started its services.
	System bool
	// HoldInit has the image's init wait for a copy into the guest, which follows.
	HoldInit bool
	// Repair repairs its disk first, and keeps what the disk's metadata were beside it. It
	// is for a VM that does not run.
	Repair bool
	// Op is the request's id in the log.
	Op string

	forWork bool // only to bring work out, see vm.Run
}

// Start brings a VM up and waits for it. A VM that runs already is left as it
// is; one that is stopping is started after its end. A start goes on when its
// callers leave: a VM does not hang on the request that started it. The errors are *BootError,
// *StateError, *MemoryError, *EndedByError.
func (i *Instance) Start(ctx context.Context, o StartOptions, step progress.Func) error {
	return i.do(ctx, startVerb(o), step, func(ctx context.Context, step progress.Func) error { return i.start(ctx, step, o) })
}

func startVerb(o StartOptions) verb {
	return verb{name: "start", rank: rankOther, key: fmt.Sprintf("start %t %t %t", o.Force, o.System, o.Repair), goesOn: true}
}

// start is the body of create, start and restart.
func (i *Instance) start(ctx context.Context, step progress.Func, o StartOptions) error {
	v := i.View()
	if v.HasRun && v.Record.State == vm.Stopping { // a stop that ended without its run
		var err error
		if v, err = i.await(ctx, step, "stop", func(v View) bool { return !v.HasRun }); err != nil {
			return err
		}
	}
	switch {
	case o.Repair && v.HasRun:
		return hint.Add(&StateError{v.Record.Spec.Name, v.Record.State, "repaired"}, "banger vm stop "+v.Record.Spec.Name)
	case v.Record.State == vm.Running || v.Record.State == vm.Paused:
		step(progress.Step{Notice: v.Record.Spec.Name + " is running already"})
	case !v.HasRun:
		if err := i.launch(ctx, step, o); err != nil {
			return err
		}
	}
	v, err := i.await(ctx, step, "boot", func(v View) bool { return v.Record.State != vm.Starting || !v.HasRun })
	switch {
	case err != nil:
		return err
	case v.Record.State == vm.Running || v.Record.State == vm.Paused:
		for _, line := range v.Status.NotForwarded {
			step(progress.Step{Notice: line})
		}
		if o.System {
			return i.waitSystem(ctx, step)
		}
		return nil
	case v.Record.Ending != nil:
		return &BootError{Name: v.Record.Spec.Name, Ending: *v.Record.Ending}
	}
	return &StateError{v.Record.Spec.Name, v.Record.State, "waited for"}
}

// launch records the intent and starts a supervisor. When it returns nil the
// run is followed; on an error there is none.
func (i *Instance) launch(ctx context.Context, step progress.Func, o StartOptions) error {
	rec := i.View().Record
	if _, err := vm.Next(rec.State, vm.Start); err != nil {
		return &StateError{rec.Spec.Name, rec.State, "started"}
	}
	choice, err := i.set.cfg.Drivers.Choose(ctx, rec.Spec.Driver, rec.Spec.VCPUs)
	if err != nil {
		return err
	}
	order, err := i.order(ctx, rec, choice)
	if err != nil {
		return err
	}
	order.Op, order.NoInit, order.HoldInit, order.Repair = o.Op, o.forWork, o.HoldInit, o.Repair
	if order.SSHClients, err = i.set.clientKeys(); err != nil {
		return fmt.Errorf("start VM %q: %w", rec.Spec.Name, err)
	}
	if n := order.Network; n != nil {
		if note := proxyNote(n.Proxies); note != "" {
			step(progress.Step{Notice: note})
		}
	}
	if choice.Emulated() && i.set.tellOnce() {
		step(progress.Step{Notice: "no usable KVM (" + choice.Why + "): the guest is emulated, about ten times slower"})
	}
	var lock *os.File
	err = fault.Do("start.lock", func() (err error) {
		lock, err = supervisor.TakeLock(i.Dir())
		return err
	})
	if errors.Is(err, supervisor.ErrHeld) {
		return &SilentError{rec.Spec.Name, "the supervisor of an earlier run", err}
	}
	if err != nil {
		return fmt.Errorf("start VM %q: %w", rec.Spec.Name, err)
	}
	if o.Repair {
		err = i.keepMetadata(step)
	}
	var hostKey string
	if err == nil {
		hostKey, err = i.hostKey()
	}
	if err == nil {
		err = i.intend(ctx, choice, o, hostKey)
	}
	if err != nil {
		lock.Close()
		return err
	}
	// From here on the start is true: what comes is not cut.
	i.set.pinHosts()
	return i.spawn(order, lock)
}

// keepMetadata copies what the disk's metadata are before their repair.
func (i *Instance) keepMetadata(step progress.Func) error {
	return fault.Do("start.metadata", func() error {
		kept, err := disk.KeepMetadata(filepath.Join(i.Dir(), paths.DiskFile))
		if err != nil {
			return fmt.Errorf("repair the disk of VM %q: %w", i.Name(), err)
		}
		step(progress.Step{Notice: "what the disk's metadata were is kept in " + kept})
		return nil
	})
}

// intend records that the VM is to run, if the host's memory holds it.
func (i *Instance) intend(ctx context.Context, choice vmm.Choice, o StartOptions, hostKey string) error {
	i.set.memory.Lock()
	defer i.set.memory.Unlock()
	rec := i.View().Record
	if !o.Force {
		if err := i.set.hasMemory(rec); err != nil {
			return hint.Add(fmt.Errorf("start VM %q: %w", rec.Spec.Name, err), "stop another VM, choose a smaller --memory, or add --force")
		}
	}
	if err := cause(ctx); err != nil {
		return err
	}
	return i.move(vm.Start, func(r *vm.Record) {
		r.Run = vm.Run{HostBootID: process.BootID(), Driver: choice.Driver, Version: choice.Found.Version, Accel: choice.Found.Accel, Why: choice.Why, Discards: choice.Found.Discards, ForWork: o.forWork}
		r.Ending, r.StartedAt, r.Restart, r.HostKey = nil, time.Now().UTC(), false, hostKey
		r.Workspaces = withFinal(r.Workspaces, false)
	})
}

// spawn starts the supervisor and follows it.
func (i *Instance) spawn(order supervisor.Order, lock *os.File) error {
	var p vm.Process
	err := fault.Do("start.spawn", func() (err error) {
		p, err = supervisor.Spawn(i.set.cfg.Program, order, lock)
		return err
	})
	i.mu.Lock()
	defer i.mu.Unlock()
	if err != nil {
		i.release(vm.Run{})
		i.noteLocked(vm.Fail, func(r *vm.Record) {
			r.Ending = &vm.Ending{At: time.Now().UTC(), Cause: vm.CauseBoot, Detail: err.Error(), Hint: hint.Of(err)}
		})
		return fmt.Errorf("start VM %q: %w", i.Name(), err)
	}
	i.view.Update(func(v *View) { v.Status = supervisor.Status{} })
	i.noteLocked("", func(r *vm.Record) { r.Run.Supervisor = &p })
	i.follow()
	return nil
}

// order is what the supervisor is told.
func (i *Instance) order(ctx context.Context, rec vm.Record, choice vmm.Choice) (supervisor.Order, error) {
	var o supervisor.Order
	if rec.ImageDigest == "" {
		return o, &StateError{rec.Spec.Name, rec.State, "started before it is made"}
	}
	b, err := i.set.baseOf(ctx, rec)
	if err != nil {
		return o, err
	}
	data := filepath.Join(i.Dir(), paths.DiskFile)
	if _, err := os.Stat(data); err != nil {
		return o, fmt.Errorf("find the disk of VM %q: %w", rec.Spec.Name, err)
	}
	o.Spec = vmm.Spec{
		ID: rec.ID, Dir: i.Dir(), RunDir: supervisor.RunDir(i.Dir()),
		VCPUs: rec.Spec.VCPUs, MemMiB: rec.Spec.MemMiB, Found: choice.Found,
		Disks: []vmm.Disk{{Path: data}},
	}
	o.Name, o.Driver, o.TZ = rec.Spec.Name, choice.Driver, rec.Spec.TZ
	network, err := i.networkOf(rec.Spec.Network, b.image.Archives)
	if err != nil {
		return o, fmt.Errorf("connect VM %q: %w", rec.Spec.Name, err)
	}
	o.Network = network
	if b.kernel.Digest != noBase {
		if o.Initrd, err = i.set.kernels.Initrd(ctx, b.kernel, i.set.cfg.Agent); err != nil {
			return o, fmt.Errorf("pack the initramfs: %w", err)
		}
		o.Kernel = b.kernel.Vmlinux
		o.Disks = []vmm.Disk{{Path: b.image.Path, ReadOnly: true}, {Path: data}, {Path: b.kernel.ModulesDisk, ReadOnly: true}}
	}
	return o, nil
}
