package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/api"
	"banger/internal/disk"
	"banger/internal/paths"
	"banger/internal/process"
	"banger/internal/progress"
	"banger/internal/store"
	"banger/internal/supervisor"
	"banger/internal/vm"
)

// Create makes a VM, and starts it where that is asked. A create that is not
// answered, because the caller goes away or the daemon stops, is undone. A VM
// whose guest never came up is kept for a look, --rm or not.
func (d *Daemon) Create(ctx context.Context, req api.Create, holder *vm.Process, step progress.Func) (view, error) {
	spec, err := d.complete(ctx, req.Spec)
	if err != nil {
		return view{}, err
	}
	if req.Remove && holder == nil {
		return view{}, errors.New("tie the VM to its session: the calling process can't be seen from here")
	}
	rec := vm.Record{Format: vm.RecordFormat, ID: vm.NewID(), Spec: spec, State: vm.Created, CreatedAt: time.Now().UTC()}
	if req.Remove {
		rec.Remove, rec.Holder = true, holder
	}
	if rec, err = d.reserve(ctx, rec); err != nil {
		return view{}, err
	}
	m := d.own(rec)
	if err := d.prepare(ctx, m, step); err != nil {
		return view{}, errors.Join(err, m.undo())
	}
	if !req.Start {
		m.watchHolder()
		v, _ := m.view()
		return v, nil
	}
	v, err := d.Start(ctx, m, step)
	var boot *bootError
	switch {
	case err == nil:
		m.watchHolder()
		return v, nil
	case errors.As(err, &boot) && ctx.Err() == nil:
		return v, errors.Join(err, d.Keep(m))
	}
	return v, errors.Join(err, m.undo())
}

// complete fills in the host's defaults and refuses what can't be meant.
func (d *Daemon) complete(ctx context.Context, s vm.Spec) (vm.Spec, error) {
	hostMiB := hostMemMiB()
	def := vm.Defaults(runtime.NumCPU(), hostMiB)
	fill(&s.Image, def.Image)
	fill(&s.Kernel, def.Kernel)
	fill(&s.VMM, def.VMM)
	fill(&s.VCPUs, def.VCPUs)
	fill(&s.MemMiB, def.MemMiB)
	fill(&s.DiskMiB, def.DiskMiB)
	named := s
	fill(&named.Name, "unnamed")
	if err := named.Check(); err != nil {
		return s, err
	}
	if hostMiB > 0 && s.MemMiB > hostMiB {
		return s, &vm.FieldError{Field: "memory", Err: fmt.Errorf("%s is more than the host's %s", vm.FormatMiB(s.MemMiB), vm.FormatMiB(hostMiB))}
	}
	_, err := d.cfg.Drivers.Choose(ctx, s.VMM, s.VCPUs)
	if unknown := (*supervisor.UnknownDriverError)(nil); errors.As(err, &unknown) {
		return s, &vm.FieldError{Field: "vmm", Err: err}
	}
	return s, err
}

// fill sets *field to def where it is its type's zero.
func fill[T comparable](field *T, def T) {
	var zero T
	if *field == zero {
		*field = def
	}
}

// hostMemMiB is the host's memory, or 0 where it can't be told.
func hostMemMiB() int64 {
	var si unix.Sysinfo_t
	if unix.Sysinfo(&si) != nil {
		return 0
	}
	return int64(uint64(si.Totalram) * uint64(si.Unit) >> 20)
}

// reserve inserts the row and so takes the name, making one where none is
// given.
func (d *Daemon) reserve(ctx context.Context, rec vm.Record) (vm.Record, error) {
	if rec.Spec.Name != "" {
		return rec, d.store.Insert(ctx, rec)
	}
	for {
		rec.Spec.Name = newName()
		if err := d.store.Insert(ctx, rec); !errors.Is(err, store.ErrNameTaken) {
			return rec, err
		}
	}
}

// prepare gets image, kernel and disk. The digests are recorded last: a record
// without them is a create that was cut.
func (d *Daemon) prepare(ctx context.Context, m *machine, step progress.Func) error {
	v, _ := m.view()
	img, err := d.images.Ensure(ctx, v.rec.Spec.Image, step)
	if err != nil {
		return err
	}
	k, err := d.kernels.Ensure(ctx, v.rec.Spec.Kernel, step)
	if err != nil {
		return err
	}
	dir := d.cfg.Dirs.VM(m.id)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if err := disk.Create(ctx, filepath.Join(dir, paths.DiskFile), v.rec.Spec.DiskMiB, d.cfg.Dirs.Templates()); err != nil {
		return fmt.Errorf("make the disk of VM %q: %w", v.rec.Spec.Name, err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	var saved error
	err = m.post(func() {
		saved = m.record("", func(r *vm.Record) { r.ImageDigest, r.KernelDigest = img.Digest, k.Digest })
	})
	return errors.Join(err, saved)
}

// undo takes a VM back that was never answered for: nothing of it stays. It
// has a limit of its own, as the request may be gone and the daemon stopping.
func (m *machine) undo() error {
	ran := make(chan error, 1)
	undo := func() {
		if v, _ := m.view(); v.rec.State.Live() && v.rec.Supervisor != nil {
			if h, err := process.Open(*v.rec.Supervisor); err == nil {
				killAndWait(h) // its VMM goes with it
				h.Close()
			}
			m.run++ // its follower has nothing to say any more
		}
		m.release()
		m.set(func(v *view) { v.rec.StartedAt = time.Time{} })
		ran <- m.remove()
	}
	if err := m.post(undo); err != nil {
		if !errors.Is(err, errStopping) {
			return nil // deleted already
		}
		// The owner is gone with the daemon's life; nobody else runs now.
		undo()
	}
	return <-ran
}

// holderOf identifies the process at the other end of a request.
func holderOf(pid int32) *vm.Process {
	if pid <= 0 {
		return nil
	}
	p, err := process.Of(int(pid))
	if err != nil {
		return nil
	}
	return &p
}
