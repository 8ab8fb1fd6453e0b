package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"banger/internal/disk"
	"banger/internal/hint"
	"banger/internal/kernel"
	"banger/internal/paths"
	"banger/internal/process"
	"banger/internal/progress"
	"banger/internal/store"
	"banger/internal/supervisor"
	"banger/internal/vm"
)

// stateError is a verb that a VM's state does not allow.
type stateError struct {
	name  string
	state vm.State
	verb  string
}

func (e *stateError) Error() string {
	return fmt.Sprintf("VM %q is %s: it can't be %s", e.name, e.state, e.verb)
}

// bootError is a start that did not reach the guest.
type bootError struct {
	name   string
	ending vm.Ending
}

func (e *bootError) Error() string {
	text := fmt.Sprintf("start VM %q: %s", e.name, e.ending.Detail)
	if e.ending.Detail == "" {
		text = fmt.Sprintf("start VM %q: it ended (%s)", e.name, e.ending.Cause)
	}
	return text
}

// Start brings a VM up and waits for it. A caller who goes away does not stop
// it: once the intent is recorded, the VM goes on. A VM that runs already is
// left as it is.
func (d *Daemon) Start(ctx context.Context, m *machine, step progress.Func) (view, error) {
	v, _ := m.view()
	if v.rec.State == vm.Running {
		step(progress.Step{Notice: fmt.Sprintf("%s is running already", v.rec.Spec.Name)})
		return v, nil
	}
	choice, err := d.cfg.Drivers.Choose(ctx, v.rec.Spec.VMM, v.rec.Spec.VCPUs)
	if err != nil {
		return v, err
	}
	k, err := d.kernels.ByDigest(v.rec.KernelDigest)
	if err != nil {
		return v, hint.Add(fmt.Errorf("find the kernel of VM %q: %w", v.rec.Spec.Name, err), "banger kernel pull")
	}
	spec, err := d.runSpec(ctx, v.rec, k, choice)
	if err != nil {
		return v, err
	}
	if choice.Emulated() && d.tellOnce() {
		step(progress.Step{Notice: "no usable KVM (" + choice.Why + "): the guest is emulated, about ten times slower"})
	}
	var startErr error
	var waiting bool // somebody else's start is under way
	err = m.post(func() {
		now, _ := m.view()
		if waiting = now.rec.State == vm.Starting || now.rec.State == vm.Running; !waiting {
			startErr = m.start(spec, choice)
		}
	})
	if err := errors.Join(err, startErr); err != nil {
		if move := (*vm.MoveError)(nil); errors.As(err, &move) {
			return v, &stateError{v.rec.Spec.Name, move.State, "started"}
		}
		return v, err
	}
	v, err = m.await(ctx, step, "boot", func(v view) bool { return v.rec.State != vm.Starting })
	switch {
	case err != nil:
		return v, err
	case v.rec.State == vm.Running:
		return v, nil
	case v.rec.Ending != nil:
		return v, &bootError{v.rec.Spec.Name, *v.rec.Ending}
	}
	return v, &stateError{v.rec.Spec.Name, v.rec.State, "waited for"}
}

// tellOnce reports true the first time in a daemon's life.
func (d *Daemon) tellOnce() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	told := d.told
	d.told = true
	return !told
}

func (d *Daemon) runSpec(ctx context.Context, rec vm.Record, k kernel.Kernel, choice supervisor.Choice) (supervisor.Spec, error) {
	img, err := d.images.ByDigest(rec.ImageDigest)
	if err != nil {
		return supervisor.Spec{}, hint.Add(fmt.Errorf("find the image of VM %q: %w", rec.Spec.Name, err), "banger image build")
	}
	initrd, err := d.kernels.Initrd(ctx, k, d.cfg.Agent)
	if err != nil {
		return supervisor.Spec{}, fmt.Errorf("pack the initramfs: %w", err)
	}
	dir := d.cfg.Dirs.VM(rec.ID)
	data := filepath.Join(dir, paths.DiskFile)
	if _, err := os.Stat(data); err != nil {
		return supervisor.Spec{}, fmt.Errorf("find the disk of VM %q: %w", rec.Spec.Name, err)
	}
	return supervisor.Spec{
		ID: rec.ID, Name: rec.Spec.Name, Dir: dir, RunDir: d.cfg.Dirs.VMRun(rec.ID),
		VCPUs: rec.Spec.VCPUs, MemMiB: rec.Spec.MemMiB,
		Driver: choice.Driver, Emulated: choice.Emulated(),
		Kernel: k.Vmlinux, Initrd: initrd,
		Disks: []supervisor.Disk{{Path: img.Path, ReadOnly: true}, {Path: data}, {Path: k.ModulesDisk, ReadOnly: true}},
		Op:    operation(ctx),
	}, nil
}

// Stop ends a VM and waits for its end. One that does not run is left as it
// is.
func (d *Daemon) Stop(ctx context.Context, m *machine, how supervisor.Stop, step progress.Func) (view, error) {
	var moveErr error
	var idle bool
	err := m.post(func() {
		v, _ := m.view()
		if idle = !v.rec.State.Live(); idle {
			return
		}
		if moveErr = m.record(vm.Stop, nil); moveErr == nil {
			m.set(func(v *view) { v.status.Text = "asking the guest to end" })
			m.askToStop(how)
		}
	})
	v, _ := m.view()
	if err := errors.Join(err, moveErr); err != nil {
		return v, err
	}
	if idle {
		step(progress.Step{Notice: fmt.Sprintf("%s is not running", v.rec.Spec.Name)})
		return v, nil
	}
	v, err = m.await(ctx, step, "stop", func(v view) bool { return !v.rec.State.Live() })
	if err == nil && !how.Discard && v.rec.Ending != nil && v.rec.Ending.Forced {
		step(progress.Step{Notice: fmt.Sprintf("%s did not end in its time and was forced", v.rec.Spec.Name)})
	}
	return v, err
}

// askToStop passes a stop on to the supervisor; one that does not end the run
// is killed after a while, and the VMM with it. Only the owner calls it.
func (m *machine) askToStop(how supervisor.Stop) {
	run := m.run
	client := supervisor.NewClient(m.d.cfg.Dirs.VMRun(m.id))
	m.d.work.Go(func() { // ends with the run, the backstop or the daemon
		ctx, cancel := context.WithTimeout(m.d.life, adoptLimit)
		err := client.Stop(ctx, how)
		cancel()
		limit := stopBackstop
		if err != nil {
			m.log.Warn("ask the supervisor to stop", "err", err)
			limit = 0
		}
		over, cancel := context.WithTimeout(m.d.life, limit)
		defer cancel()
		m.await(over, progress.Discard, "", func(v view) bool { return !v.rec.State.Live() })
		if m.d.life.Err() != nil {
			return
		}
		m.post(func() {
			if v, _ := m.view(); m.run == run && v.rec.State.Live() && v.rec.Supervisor != nil {
				m.log.Warn("kill a supervisor that did not end its run")
				if h, err := process.Open(*v.rec.Supervisor); err == nil {
					h.Kill() // its follower sees the end
					h.Close()
				}
			}
		})
	})
}

// Delete ends a VM if it runs and force allows that, and moves it to the
// trash.
func (d *Daemon) Delete(ctx context.Context, m *machine, force bool, step progress.Func) error {
	for {
		v, _ := m.view()
		if v.removed {
			return nil
		}
		if v.rec.State.Live() {
			if !force {
				return hint.Add(&stateError{v.rec.Spec.Name, v.rec.State, "deleted"},
					fmt.Sprintf("banger vm stop %s, or banger vm delete -f %s", v.rec.Spec.Name, v.rec.Spec.Name))
			}
			if _, err := d.Stop(ctx, m, supervisor.Stop{Discard: true}, step); err != nil {
				return err
			}
		}
		var again bool
		var removeErr error
		err := m.post(func() {
			v, _ := m.view()
			if again = v.rec.State.Live(); !again { // else started in between
				removeErr = m.remove()
			}
		})
		if err := errors.Join(err, removeErr); err != nil || !again {
			return err
		}
	}
}

// remove moves the VM's directory to the trash and then drops its row: a crash
// in between leaves a row without a directory, which reconcile drops. Only the
// owner calls it.
func (m *machine) remove() error {
	m.release()
	v, _ := m.view()
	dir := m.d.cfg.Dirs.VM(m.id)
	if v.rec.StartedAt.IsZero() {
		// It never ran: there is nothing in it that could be missed.
		if err := m.d.discard(m.id); err != nil {
			return err
		}
	} else if err := m.d.trash.Put(dir, v.rec.Spec.Name, string(m.id)); err != nil {
		return fmt.Errorf("move VM %q to the trash: %w", v.rec.Spec.Name, err)
	}
	if err := m.d.store.Delete(context.WithoutCancel(m.d.life), m.id); err != nil {
		return err
	}
	m.log.Info("deleted", "name", v.rec.Spec.Name)
	m.d.mu.Lock()
	delete(m.d.machines, m.id)
	m.d.mu.Unlock()
	m.set(func(v *view) { v.removed = true })
	// The trash's own bound, outside of the answer's way.
	m.d.work.Go(func() { // ends when the trash is within its bound
		if err := m.d.trash.Bound(); err != nil {
			m.log.Warn("bound the trash", "err", err)
		}
	})
	return nil
}

// discard removes what there is of a VM that never ran.
func (d *Daemon) discard(id vm.ID) error {
	return errors.Join(disk.Remove(d.cfg.Dirs.VM(id)), os.RemoveAll(d.cfg.Dirs.VMRun(id)))
}

// Keep unties a VM from its session.
func (d *Daemon) Keep(m *machine) error {
	var err error
	return errors.Join(m.post(func() {
		err = m.record("", func(r *vm.Record) { r.Remove, r.Holder = false, nil })
	}), err)
}

// watchHolder deletes a --rm VM when the process that holds it is gone.
func (m *machine) watchHolder() {
	v, _ := m.view()
	if !v.rec.Remove || v.rec.Holder == nil {
		return
	}
	holder := *v.rec.Holder
	m.d.work.Go(func() { // ends with the holder, the VM or the daemon
		h, err := process.Open(holder)
		if err == nil {
			err = m.waitHolder(h)
			h.Close()
		}
		if err != nil && !errors.Is(err, os.ErrProcessDone) {
			return
		}
		if v, _ := m.view(); v.removed || !v.rec.Remove {
			return
		}
		m.log.Info("the session that held it is gone", "pid", holder.PID)
		ctx, cancel := context.WithTimeout(m.d.life, stopBackstop+releaseLimit)
		defer cancel()
		if err := m.d.Delete(ctx, m, true, progress.Discard); err != nil && !errors.Is(err, store.ErrNotFound) {
			m.log.Error("delete after its session", "err", err)
		}
	})
}

// waitHolder returns nil when the holder is gone, and an error when the VM is,
// or is no longer held, or the daemon stops.
func (m *machine) waitHolder(h *process.Handle) error {
	ctx, cancel := context.WithCancel(m.d.life)
	defer cancel()
	m.d.work.Go(func() { // ends with ctx
		m.await(ctx, progress.Discard, "", func(v view) bool { return !v.rec.Remove })
		cancel()
	})
	return h.Wait(ctx)
}
