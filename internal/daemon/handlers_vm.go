package daemon

import (
	"context"
	"fmt"
	"io"

	"banger/internal/api"
	"banger/internal/hint"
	"banger/internal/instance"
	"banger/internal/process"
	"banger/internal/progress"
	"banger/internal/vm"
)

// handlers are all calls, in the order of package api's table.
func (d *Daemon) handlers() []handler {
	return []handler{
		plain(api.ShowDaemon, d.showDaemon),
		plain(api.StopDaemon, d.stopDaemon),
		plain(api.ListVMs, d.listVMs),
		events(api.CreateVM, d.createVM),
		events(api.PruneVMs, d.pruneVMs),
		plain(api.ShowVM, d.showVM),
		events(api.SetVM, d.setVM),
		events(api.DeleteVM, d.deleteVM),
		events(api.StartVM, d.startVM),
		events(api.StopVM, d.stopVM),
		events(api.RestartVM, d.restartVM),
		events(api.KillVM, d.killVM),
		events(api.WaitVM, d.waitVM),
		plain(api.KeepVM, d.keepVM),
		plain(api.VMSession, d.vmSession),
		plain(api.VMHealth, d.vmHealth),
		plain(api.VMStats, d.vmStats),
		plain(api.VMNetwork, d.showNetwork),
		raw(api.VMDenied, d.networkLog),
		plain(api.VMPorts, d.vmPorts),
		plain(api.ForwardVM, d.forwardVM),
		raw(api.VMLogs, d.vmLogs),
		plain(api.AddWorkspace, d.addWorkspace),
		events(api.SaveWork, d.saveWork),
		plain(api.ListImages, d.listImages),
		events(api.BuildImage, d.buildImage),
		plain(api.ShowImage, d.showOneImage),
		plain(api.DeleteImage, d.deleteImage),
		plain(api.ListKernels, d.listKernels),
		events(api.PullKernel, d.pullKernel),
		plain(api.ListTrash, d.listTrash),
		plain(api.EmptyTrash, d.emptyTrash),
		plain(api.RestoreTrash, d.restoreTrash),
	}
}

func (d *Daemon) listVMs(context.Context, request, api.None) ([]api.VM, error) {
	out := []api.VM{}
	for _, i := range d.set.All() {
		out = append(out, show(i))
	}
	return out, nil
}

func (d *Daemon) createVM(ctx context.Context, r request, in api.Create, step progress.Func) (api.VM, error) {
	o := instance.CreateOptions{
		Spec: vm.Spec{Name: in.Name, Image: in.Spec.Image, Kernel: in.Spec.Kernel, VCPUs: in.Spec.VCPUs, MemMiB: in.Spec.MemMiB,
			DiskMiB: in.Spec.DiskMiB, Driver: in.Spec.Driver, TTLSeconds: in.Spec.TTLSeconds, TZ: in.Spec.TZ, Network: in.Spec.Network},
		Env: in.Env, Start: in.Start, StartOptions: startOptions(r, in.Force, in.Wait),
	}
	o.HoldInit = in.Copy
	if in.Remove {
		holder, err := process.Of(r.pid)
		if r.pid <= 0 || err != nil {
			return api.VM{}, fmt.Errorf("tie the VM to its session: the calling process can't be seen from here")
		}
		o.Holder = &holder
	}
	i, err := d.set.Create(ctx, o, step)
	if err != nil {
		return api.VM{}, err
	}
	return show(i), nil
}

func startOptions(r request, force bool, wait api.Wait) instance.StartOptions {
	return instance.StartOptions{Force: force, System: wait == api.WaitSystem, Op: r.op}
}

func checkWait(wait api.Wait) error {
	if wait != api.WaitAgent && wait != api.WaitSystem {
		return &vm.FieldError{Field: "wait", Err: fmt.Errorf("%q is not %q", wait, api.WaitSystem)}
	}
	return nil
}

func (d *Daemon) pruneVMs(ctx context.Context, _ request, in api.Prune, step progress.Func) (api.Pruned, error) {
	taken, err := d.set.Prune(ctx, in.IDs, in.DryRun, step)
	out := api.Pruned{VMs: []api.VM{}}
	for _, i := range taken {
		out.VMs = append(out.VMs, show(i))
	}
	out.TrashBytes = d.set.TrashBytes()
	return out, err
}

// on finds the VM of a call and runs f on it.
func (d *Daemon) on(r request, f func(*instance.Instance) error) (api.VM, error) {
	i, err := d.set.Resolve(r.ref)
	if err != nil {
		return api.VM{}, err
	}
	if err := f(i); err != nil {
		return api.VM{}, err
	}
	return show(i), nil
}

func (d *Daemon) showVM(_ context.Context, r request, _ api.None) (api.VM, error) {
	return d.on(r, func(*instance.Instance) error { return nil })
}

func (d *Daemon) setVM(ctx context.Context, r request, in api.Set, step progress.Func) (api.VM, error) {
	return d.on(r, func(i *instance.Instance) error {
		c := instance.Change{Name: in.Name, VCPUs: in.VCPUs, MemMiB: in.MemMiB, DiskMiB: in.DiskMiB, TTLSeconds: in.TTLSeconds, TZ: in.TZ}
		if n := in.Network; n != nil {
			c.Network = &instance.NetworkChange{Egress: n.Egress, Allow: n.Allow, Deny: n.Deny, Forget: n.Forget}
		}
		return i.Set(ctx, c, step)
	})
}

func (d *Daemon) deleteVM(ctx context.Context, r request, in api.Delete, step progress.Func) (api.Deleted, error) {
	v, err := d.on(r, func(i *instance.Instance) error {
		return i.Delete(ctx, instance.DeleteOptions{Force: in.Force, Discard: in.Discard}, step)
	})
	if err != nil {
		return api.Deleted{}, err
	}
	out := api.Deleted{VM: v, Trashed: !in.Discard && !v.StartedAt.IsZero()}
	out.TrashBytes = d.set.TrashBytes()
	return out, nil
}

func (d *Daemon) startVM(ctx context.Context, r request, in api.Start, step progress.Func) (api.VM, error) {
	return d.on(r, func(i *instance.Instance) error {
		if err := checkWait(in.Wait); err != nil {
			return err
		}
		o := startOptions(r, in.Force, in.Wait)
		o.Repair = in.Repair
		return i.Start(ctx, o, step)
	})
}

func (d *Daemon) stopVM(ctx context.Context, r request, _ api.Stop, step progress.Func) (api.VM, error) {
	return d.on(r, func(i *instance.Instance) error { return i.Stop(ctx, step) })
}

func (d *Daemon) restartVM(ctx context.Context, r request, in api.Start, step progress.Func) (api.VM, error) {
	return d.on(r, func(i *instance.Instance) error {
		if err := checkWait(in.Wait); err != nil {
			return err
		}
		return i.Restart(ctx, startOptions(r, in.Force, in.Wait), step)
	})
}

func (d *Daemon) killVM(ctx context.Context, r request, in api.Kill, step progress.Func) (api.VM, error) {
	return d.on(r, func(i *instance.Instance) error { return i.Kill(ctx, in.Signal, step) })
}

func (d *Daemon) waitVM(ctx context.Context, r request, in api.WaitFor, step progress.Func) (api.VM, error) {
	if in.State == api.StateGone {
		if _, err := d.set.Resolve(r.ref); err != nil {
			return api.VM{}, nil // gone already, or never there: that is what was asked
		}
	}
	return d.on(r, func(i *instance.Instance) error { return i.Wait(ctx, vm.State(in.State), step) })
}

func (d *Daemon) keepVM(_ context.Context, r request, _ api.None) (api.VM, error) {
	return d.on(r, (*instance.Instance).Keep)
}

func (d *Daemon) vmSession(_ context.Context, r request, _ api.None) (api.Session, error) {
	v, err := d.showVM(context.Background(), r, api.None{})
	if err != nil {
		return api.Session{}, err
	}
	if v.Session == nil {
		return api.Session{}, hint.Add(&instance.StateError{Name: v.Name, State: v.State, Verb: "entered"}, enterHint(v))
	}
	return *v.Session, nil
}

// enterHint says what to type to get a VM into a state that can be entered.
func enterHint(v api.VM) string {
	switch v.State {
	case vm.Created, vm.Stopped, vm.Error, vm.Stopping:
		return "banger vm start " + v.Name
	case vm.Starting:
		return "banger vm wait " + v.Name + " running"
	}
	return "banger vm show " + v.Name
}

func (d *Daemon) vmHealth(ctx context.Context, r request, _ api.None) (api.Health, error) {
	i, err := d.set.Resolve(r.ref)
	if err != nil {
		return api.Health{}, err
	}
	h := i.Health(ctx)
	out := api.Health{Healthy: len(h.Problems) == 0, Problems: h.Problems, State: h.State}
	if g := h.Guest; g != nil {
		out.Guest = &api.GuestHealth{UptimeMillis: g.UptimeMillis, Init: g.Init, MemTotalKiB: g.MemTotalKiB, MemFreeKiB: g.MemFreeKiB,
			DiskTotalKiB: g.DiskTotalKiB, DiskFreeKiB: g.DiskFreeKiB, Processes: g.ExecProcesses}
	}
	return out, nil
}

func (d *Daemon) vmStats(ctx context.Context, r request, _ api.None) (api.Stats, error) {
	i, err := d.set.Resolve(r.ref)
	if err != nil {
		return api.Stats{}, err
	}
	s, err := i.Stats(ctx)
	if err != nil {
		return api.Stats{}, err
	}
	return api.Stats{
		ID: i.ID(), Name: i.Name(), At: s.At, Since: s.VMM.StartedAt, CPUMillis: s.VMM.CPU.Milliseconds(), VCPUs: s.VCPUs,
		MemRSSKiB: s.VMM.RSSKiB, MemPSSKiB: s.VMM.PSSKiB, MemLimitKiB: s.MemLimitMiB << 10,
		ReadBytes: s.VMM.ReadBytes, WrittenBytes: s.VMM.WrittenBytes,
		DiskOwnBytes: s.DiskOwnBytes, DiskSharedBytes: s.DiskSharedBytes,
	}, nil
}

func (d *Daemon) vmLogs(ctx context.Context, r request, in api.Logs, w io.Writer) error {
	i, err := d.set.Resolve(r.ref)
	if err != nil {
		return err
	}
	return i.Logs(ctx, w, in.Follow, in.New)
}
