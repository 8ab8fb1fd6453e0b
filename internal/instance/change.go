package instance

import (
	"context"
	"errors"
	"fmt"

	"banger/internal/hint"
	"banger/internal/progress"
	"banger/internal/store"
	"banger/internal/vm"
)

// Change is what Set changes; a zero field stays as it is.
type Change struct {
	Name   string
	VCPUs  int
	MemMiB int64
	// TTLSeconds is a new time to live; -1 takes it away.
	TTLSeconds int64
}

// Set changes a VM. CPUs and memory of a running one are refused; a name and a
// time to live change at once.
func (i *Instance) Set(ctx context.Context, c Change, step progress.Func) error {
	v := verb{name: "set", key: fmt.Sprintf("set %+v", c)}
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
	if c.TTLSeconds != 0 {
		to.TTLSeconds = max(c.TTLSeconds, 0)
	}
	if err := to.Check(); err != nil {
		return err
	}
	if err := fitsHost(to); err != nil {
		return err
	}
	if to.VCPUs != spec.VCPUs {
		if _, err := i.set.cfg.Drivers.Choose(ctx, to.Driver, to.VCPUs); err != nil {
			return &vm.FieldError{Field: "vcpu", Err: err}
		}
	}
	if err := cause(ctx); err != nil {
		return err
	}
	i.set.dropRows()
	err := i.move("", func(r *vm.Record) { r.Spec = to })
	if errors.Is(err, store.ErrNameTaken) {
		return fmt.Errorf("rename VM %q: %w", spec.Name, store.ErrNameTaken)
	}
	return err
}
