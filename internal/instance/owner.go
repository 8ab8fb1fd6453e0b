package instance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/ballast"
	"banger/internal/fault"
	"banger/internal/process"
	"banger/internal/progress"
	"banger/internal/store"
	"banger/internal/supervisor"
	"banger/internal/vm"
	"banger/internal/watch"
)

const (
	errNoSpace = unix.ENOSPC
	errQuota   = unix.EDQUOT
)

// Instance is one VM.
type Instance struct {
	set  *Set
	id   vm.ID
	born time.Time
	log  *slog.Logger
	view *watch.Value[View]
	slot slot

	// mu is held while the record changes; readers of the view don't need it.
	mu  sync.Mutex
	run int // counts runs: a follower of an earlier one has nothing to say
	// endedBy says which verb ends the run by force, and why.
	endedBy *vm.Ending
	dirty   bool // vm.json is not what the record is
}

// View is a VM at one moment. What its pointers lead to never changes.
type View struct {
	Record vm.Record
	// Status is the last word of the supervisor; zero when there is no run.
	Status supervisor.Status
	// HasRun says that processes of the VM live, or that nobody knows yet.
	HasRun bool
	// Operation is the verb under way, "" for none.
	Operation string
	// Silent is since when the supervisor has not answered; zero while it does.
	Silent time.Time
	// NotRecorded says why Record could not be written; "" when it was.
	NotRecorded string
	// Removed says that the VM is deleted.
	Removed bool
}

// Live reports whether the VM has, or is about to have, processes.
func (v View) Live() bool { return v.HasRun || v.Record.State.Live() }

// newInstance makes the owner of a VM that has a row. It is in the Set when it
// returns.
func (s *Set) newInstance(rec vm.Record) *Instance {
	i := &Instance{set: s, id: rec.ID, born: rec.CreatedAt, log: slog.With("vm", rec.ID), view: watch.New(View{Record: rec})}
	i.slot = slot{
		vmName: i.Name, life: s.life, work: &s.work,
		changed: func(running string) { i.view.Update(func(v *View) { v.Operation = running }) },
	}
	s.mu.Lock()
	s.vms[rec.ID] = i
	s.mu.Unlock()
	return i
}

// ID is the VM's id.
func (i *Instance) ID() vm.ID { return i.id }

// Name is the VM's name now.
func (i *Instance) Name() string { return i.View().Record.Spec.Name }

// Dir is the VM's directory.
func (i *Instance) Dir() string { return i.set.cfg.Dirs.VM(i.id) }

// View returns the VM as it is now. It never waits.
func (i *Instance) View() View {
	v, _ := i.view.Get()
	return v
}

// do runs a verb in the VM's slot.
func (i *Instance) do(ctx context.Context, v verb, step progress.Func, run func(context.Context, progress.Func) error) error {
	return i.slot.do(ctx, v, step, func(ctx context.Context, step progress.Func) error {
		if i.View().Removed {
			return fmt.Errorf("%w: %q was deleted", ErrNotFound, i.Name())
		}
		return run(ctx, step)
	})
}

// await waits until done says so, and passes the supervisor's words on. A VM
// that is deleted meanwhile is ErrNotFound.
func (i *Instance) await(ctx context.Context, step progress.Func, stage string, done func(View) bool) (View, error) {
	var text string
	for {
		v, changed := i.view.Get()
		if done(v) {
			if text != "" {
				if v.HasRun && v.Status.Text != "" { // what was said last may have come with the end
					text = v.Status.Text
				}
				step(progress.Step{Stage: stage, Text: text, Finished: true})
			}
			return v, nil
		}
		if v.Removed {
			return v, fmt.Errorf("%w: %q was deleted", ErrNotFound, v.Record.Spec.Name)
		}
		now := v.Status.Text
		if stage == "stop" && v.Status.Phase == supervisor.Ready {
			now = "" // it has not heard of what is asked yet
		}
		if !v.Silent.IsZero() {
			now = "its supervisor does not answer since " + v.Silent.Local().Format(time.TimeOnly)
		}
		if now != text && now != "" {
			text = now
			step(progress.Step{Stage: stage, Text: text})
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return v, cause(ctx)
		}
	}
}

// move records an event and a change. Nothing is true before it is saved: on an
// error nothing has changed. It is for what is about to be done.
func (i *Instance) move(event vm.Event, change func(*vm.Record)) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	rec, err := i.after(event, change)
	if err != nil {
		return err
	}
	if err := i.save(rec); err != nil {
		return err
	}
	i.publish(rec, "")
	return nil
}

// note records an event and a change that are true whether or not they can be
// saved. If they can't, the view says so, and they are saved later. An event
// that the table refuses changes nothing and is an error.
func (i *Instance) note(event vm.Event, change func(*vm.Record)) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.noteLocked(event, change)
}

func (i *Instance) noteLocked(event vm.Event, change func(*vm.Record)) error {
	rec, err := i.after(event, change)
	if err != nil {
		return err
	}
	err = i.save(rec)
	if isFull(err) && ballast.Drop(i.set.ballastFile()) {
		err = i.save(rec)
	}
	not := ""
	if err != nil {
		not = err.Error()
		i.log.Error("save the record; it will be tried again", "err", err)
	}
	i.publish(rec, not)
	return nil
}

// after returns the record as event and change make it; "" is no event.
func (i *Instance) after(event vm.Event, change func(*vm.Record)) (vm.Record, error) {
	v := i.View()
	rec := v.Record
	if v.Removed {
		return rec, fmt.Errorf("%w: %q was deleted", ErrNotFound, rec.Spec.Name)
	}
	if event != "" {
		next, err := vm.Next(rec.State, event)
		if err != nil {
			return rec, err
		}
		rec.State = next
	}
	if change != nil {
		change(&rec)
	}
	return rec, nil
}

func (i *Instance) publish(rec vm.Record, notRecorded string) {
	if old := i.View().Record.State; old != rec.State {
		i.log.Info("state", "from", old, "to", rec.State)
	}
	i.view.Update(func(v *View) { v.Record, v.NotRecorded = rec, notRecorded })
}

// save writes both records. The database is the truth; a vm.json that could not
// be written is written later.
func (i *Instance) save(rec vm.Record) error {
	// A save that began is finished, whoever gives up meanwhile.
	err := fault.Do("record.row", func() error { return i.set.store.Save(context.Background(), rec) })
	if err != nil {
		return fmt.Errorf("record VM %q: %w", rec.Spec.Name, err)
	}
	err = fault.Do("record.file", func() error { return store.WriteFile(i.Dir(), rec) })
	if i.dirty = err != nil; i.dirty {
		i.log.Warn("write vm.json", "err", err)
	}
	return nil
}

// retry saves what could not be saved.
func (i *Instance) retry() {
	if v := i.View(); v.Removed || v.NotRecorded == "" && !i.isDirty() {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	v := i.View()
	if v.Removed {
		return
	}
	if err := i.save(v.Record); err == nil {
		i.publish(v.Record, "")
	}
}

func (i *Instance) isDirty() bool {
	if !i.mu.TryLock() { // somebody is at it
		return false
	}
	defer i.mu.Unlock()
	return i.dirty
}

// isGone reports whether p has certainly ended. What can't be told is not gone.
func isGone(p vm.Process) bool {
	h, err := process.Open(p)
	if err == nil {
		h.Close()
		return false
	}
	return errors.Is(err, os.ErrProcessDone)
}
