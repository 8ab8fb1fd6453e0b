package instance

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"banger/internal/config"
	"banger/internal/disk"
	"banger/internal/fault"
	"banger/internal/hint"
	"banger/internal/paths"
	"banger/internal/progress"
	"banger/internal/store"
	"banger/internal/supervisor"
	"banger/internal/vm"
)

// Change is what Set changes; a zero field stays as it is.
type Change struct {
	Name   string
	VCPUs  int
	MemMiB int64
	// DiskMiB is a new size of the root, larger than the old one.
	DiskMiB int64
	// TTLSeconds is a new time to live; -1 takes it away.
	TTLSeconds int64
	// TZ is a new time zone, from the next start on; vm.ZoneNone takes it away.
	TZ string
	// Network changes what the guest may reach; nil changes nothing.
	Network *NetworkChange
}

// Set changes a VM. CPUs and memory of a running one are refused; a name, a
// time to live and a larger disk change at once.
func (i *Instance) Set(ctx context.Context, c Change, step progress.Func) error {
	v := verb{name: "set", key: fmt.Sprintf("set %+v %+v", c, c.Network)}
	return i.do(ctx, v, step, func(ctx context.Context, _ progress.Func) error { return i.change(ctx, c) })
}

func (i *Instance) change(ctx context.Context, c Change) error {
	v := i.View()
	spec := v.Record.Spec
	if v.HasRun && (c.VCPUs != 0 && c.VCPUs != spec.VCPUs || c.MemMiB != 0 && c.MemMiB != spec.MemMiB) {
		return hint.Add(fmt.Errorf("change CPUs or memory: %w", &StateError{spec.Name, v.Record.State, "given another size"}),
			fmt.Sprintf("banger vm stop %s, then set it, then banger vm start %s", spec.Name, spec.Name))
	}
	to := spec
	if c.Name != "" {
		to.Name = c.Name
	}
	if c.VCPUs != 0 {
		to.VCPUs = c.VCPUs
	}
	if c.MemMiB != 0 {
		to.MemMiB = c.MemMiB
	}
	if c.DiskMiB != 0 {
		to.DiskMiB = c.DiskMiB
	}
	if to.DiskMiB < spec.DiskMiB {
		return &vm.FieldError{Field: "disk-size", Err: fmt.Errorf("%s is less than the %s that VM %q has: a disk can only grow", vm.FormatMiB(to.DiskMiB), vm.FormatMiB(spec.DiskMiB), spec.Name)}
	}
	if c.TTLSeconds != 0 {
		to.TTLSeconds = max(c.TTLSeconds, 0)
	}
	switch c.TZ {
	case "":
	case vm.ZoneNone:
		to.TZ = ""
	default:
		to.TZ = c.TZ
	}
	if c.Network != nil {
		var err error
		if to.Network, err = c.Network.to(spec.Network); err == nil {
			_, err = networkOf(to.Network, config.Network{}) // are the rules sound?
		}
		if err != nil {
			return err
		}
	}
	if err := to.Check(); err != nil {
		return err
	}
	if err := fitsHost(to); err != nil {
		return err
	}
	if to.TZ != spec.TZ {
		if err := supervisor.CheckZone(to.TZ); err != nil {
			return err
		}
	}
	if to.VCPUs != spec.VCPUs {
		if _, err := i.set.cfg.Drivers.Choose(ctx, to.Driver, to.VCPUs); err != nil {
			return &vm.FieldError{Field: "vcpu", Err: err}
		}
	}
	if err := cause(ctx); err != nil {
		return err
	}
	if to.DiskMiB > spec.DiskMiB {
		err := fault.Do("set.disk", func() error { return disk.Grow(filepath.Join(i.Dir(), paths.DiskFile), to.DiskMiB) })
		if err != nil {
			return fmt.Errorf("give VM %q a larger disk: %w", spec.Name, err)
		}
	}
	i.set.dropRows()
	err := i.move("", func(r *vm.Record) { r.Spec = to })
	if errors.Is(err, store.ErrNameTaken) {
		return fmt.Errorf("rename VM %q: %w", spec.Name, store.ErrNameTaken)
	}
	if err == nil && v.HasRun && c.Network != nil {
		if err = i.tellNetwork(ctx, to.Network); err != nil {
			err = fmt.Errorf("the network of VM %q changes at its next start, not now: %w", to.Name, err)
		}
	}
	if to.Name != spec.Name {
		i.set.pinHosts()
	}
	if err != nil || !v.HasRun || to.DiskMiB == spec.DiskMiB {
		return err
	}
	if err := supervisor.NewClient(i.Dir()).Grow(ctx); err != nil {
		return hint.Add(fmt.Errorf("the disk of VM %q is larger, and its guest does not know it yet: %w", to.Name, err), "banger vm restart "+to.Name+" makes its root as large")
	}
	return nil
}
