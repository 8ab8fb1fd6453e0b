package instance

import (
	"context"
	"errors"
	"fmt"

	"banger/internal/ballast"
	"banger/internal/disk"
	"banger/internal/fault"
	"banger/internal/hint"
	"banger/internal/progress"
	"banger/internal/supervisor"
	"banger/internal/vm"
)

// DeleteOptions say how a VM is deleted.
type DeleteOptions struct {
	// Force ends a running VM first.
	Force bool
	// Discard removes the disk at once, past the trash.
	Discard bool
}

// Delete moves a VM to the trash. A running one is refused without Force. A
// repeat of a delete that was done is ErrNotFound.
func (i *Instance) Delete(ctx context.Context, o DeleteOptions, step progress.Func) error {
	err := i.do(ctx, deleteVerb(o), step, func(ctx context.Context, step progress.Func) error { return i.delete(ctx, step, o) })
	if errors.Is(err, ErrNotFound) && i.View().Removed {
		return nil // another one did it while this one waited
	}
	return err
}

func deleteVerb(o DeleteOptions) verb {
	v := verb{name: "delete", key: fmt.Sprintf("delete %t %t", o.Force, o.Discard), goesOn: true}
	if o.Force {
		v.name, v.rank = "delete -f", rankDelete
	}
	return v
}

// spawnDelete deletes a VM without a caller.
func (i *Instance) spawnDelete(o DeleteOptions) {
	i.slot.spawn(deleteVerb(o), func(ctx context.Context, step progress.Func) error {
		if i.View().Removed {
			return nil
		}
		err := i.delete(ctx, step, o)
		if err != nil && cause(ctx) == nil {
			i.log.Error("delete", "err", err)
		}
		return err
	})
}

func (i *Instance) delete(ctx context.Context, step progress.Func, o DeleteOptions) error {
	v := i.View()
	name := v.Record.Spec.Name
	if v.HasRun && !o.Force {
		return hint.Add(&StateError{name, v.Record.State, "deleted"},
			fmt.Sprintf("banger vm stop %s, or banger vm delete -f %s", name, name))
	}
	if err := cause(ctx); err != nil {
		return err
	}
	if err := i.note(vm.Delete, func(r *vm.Record) { r.Discard = o.Discard }); err != nil {
		return i.stateError(err, "deleted")
	}
	if v.HasRun {
		end := i.endSaved
		if o.Discard {
			end = i.end // what is in it is not wanted
		}
		if err := end(ctx, step, supervisor.Stop{Discard: true}); err != nil {
			return err
		}
	}
	// There is no run: what follows is short, and is not cut.
	if o.Discard {
		step(progress.Step{Stage: "delete", Text: "removing its files"})
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.removeLocked(o.Discard)
}

// removeLocked moves the VM's directory to the trash, or away for good, and then
// drops its row: a crash in between leaves a row without a directory, which
// reconcile drops. The caller holds mu; there is no run.
func (i *Instance) removeLocked(forGood bool) error {
	v := i.View()
	if v.Removed {
		return nil
	}
	rec, dir := v.Record, i.Dir()
	if err := i.dropHostKey(); err != nil {
		return err
	}
	if forGood || rec.StartedAt.IsZero() {
		// What never ran has nothing in it that could be missed.
		err := fault.Do("delete.discard", func() error { return i.set.trash.Discard(i.set.cfg.Dirs.VMs(), dir) })
		if err != nil {
			return fmt.Errorf("remove VM %q: %w", rec.Spec.Name, err)
		}
	} else {
		o := disk.PutOptions{Name: rec.Spec.Name, ID: rec.ID, Session: rec.Remove, NotSaved: rec.Unsaved()}
		if err := fault.Do("delete.trash", func() error { return i.set.trash.Put(dir, o) }); err != nil {
			return fmt.Errorf("move VM %q to the trash: %w", rec.Spec.Name, err)
		}
	}
	i.set.dropRow(rec.ID)
	i.log.Info("deleted", "name", rec.Spec.Name)
	i.set.mu.Lock()
	delete(i.set.vms, i.id)
	i.set.mu.Unlock()
	i.run++ // its follower has nothing to say any more
	i.view.Update(func(v *View) { v.Removed = true })
	i.set.pinHosts()
	i.set.work.Go(func() { // ends when the trash is within its bound
		i.set.boundTrash()
		if len(rec.Workspaces) > 0 {
			i.set.sweepWork()
		}
	})
	return nil
}

// dropRow removes a row whose VM is gone; if that can't be done now, it is done
// later.
func (s *Set) dropRow(id vm.ID) {
	remove := func() error {
		return fault.Do("delete.row", func() error { return s.store.Delete(context.Background(), id) })
	}
	err := remove()
	if isFull(err) && ballast.Drop(s.ballastFile()) {
		err = remove()
	}
	if err != nil {
		s.mu.Lock()
		s.rows[id] = true
		s.mu.Unlock()
	}
}
