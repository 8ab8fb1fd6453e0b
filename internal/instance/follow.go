package instance

import (
	"context"
	"errors"
	"time"

	"banger/internal/fault"
	"banger/internal/process"
	"banger/internal/supervisor"
	"banger/internal/vm"
)

const (
	// silentAfter is when a supervisor that has said nothing is called silent: five
	// heartbeats, so that a busy host alone does not make it so.
	silentAfter = 5 * supervisor.Heartbeat
	// askAgain bounds the time between two tries to hear a supervisor.
	askAgain = 2 * time.Second
)

// follow hears the run's supervisor until the run is gone. The caller holds mu.
func (i *Instance) follow() {
	i.run++
	run := i.run
	i.view.Update(func(v *View) { v.HasRun = true })
	i.set.work.Go(func() { i.hearAll(run) }) // ends with the run or the Set
}

// hearAll asks again for as long as the supervisor lives: one that does not
// answer is not gone.
func (i *Instance) hearAll(run int) {
	heard := time.Now()
	wait := 20 * time.Millisecond
	for i.set.life.Err() == nil {
		last, err := i.hearOnce(run, &heard)
		if i.set.life.Err() != nil {
			return
		}
		if i.isOver(last) || i.isRunGone() {
			i.ended(run, err)
			return
		}
		if time.Since(heard) > silentAfter {
			i.silent(run, heard, err)
		}
		if last.Phase != "" { // it answered this time
			wait = 20 * time.Millisecond
		}
		i.pause(wait)
		wait = min(2*wait, askAgain)
	}
}

// isOver reports whether the supervisor has said that the run is over, by last or
// in its file, and sees to it that the supervisor itself ends: it holds the run's
// lock, and nothing of the user's.
func (i *Instance) isOver(last supervisor.Status) bool {
	if last.Phase != supervisor.Gone {
		var err error
		p := i.View().Record.Run.Supervisor
		if last, err = supervisor.ReadRun(i.Dir()); err != nil || p == nil || last.Phase != supervisor.Gone || last.Supervisor != *p {
			return false
		}
	}
	if err := fault.Do("over.supervisor", func() error { return endOrphan(last.Supervisor) }); err != nil {
		i.log.Error("end the supervisor of a run that is over", "pid", last.Supervisor.PID, "err", err)
	}
	return true
}

// hearOnce opens one stream and hears it to its end, which comes at the latest
// when nothing was said for a while. It returns the last word.
func (i *Instance) hearOnce(run int, heard *time.Time) (last supervisor.Status, err error) {
	ctx, cancel := context.WithCancel(i.set.life)
	defer cancel()
	watchdog := time.AfterFunc(silentAfter, cancel)
	defer watchdog.Stop()
	err = supervisor.NewClient(i.Dir()).Events(ctx, func(s supervisor.Status) error {
		watchdog.Reset(silentAfter)
		if s.ID != i.id {
			return errors.New("another VM's supervisor answers")
		}
		*heard = time.Now()
		last = s
		i.hear(run, s)
		return nil
	})
	return last, err
}

// pause waits, but no longer than the supervisor lives.
func (i *Instance) pause(d time.Duration) {
	ctx, cancel := context.WithTimeout(i.set.life, d)
	defer cancel()
	if p := i.View().Record.Run.Supervisor; p != nil {
		if h, err := process.Open(*p); err == nil {
			defer h.Close()
			h.Wait(ctx)
			return
		}
	}
	<-ctx.Done()
}

// isRunGone reports whether the run has certainly ended: its lock is free and
// its supervisor is no longer there.
func (i *Instance) isRunGone() bool {
	held, by, err := supervisor.Held(i.Dir())
	if err != nil || held && (by == nil || !isGone(*by)) {
		return false
	}
	p := i.View().Record.Run.Supervisor
	return p == nil && !held || p != nil && isGone(*p)
}

// silent says that the supervisor lives and does not answer.
func (i *Instance) silent(run int, since time.Time, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.run != run || !i.View().Silent.IsZero() {
		return
	}
	i.log.Warn("its supervisor does not answer", "since", since, "err", err)
	i.view.Update(func(v *View) { v.Silent = since.UTC() })
}

// hear takes the supervisor's word. What it says is true, recorded or not.
func (i *Instance) hear(run int, s supervisor.Status) {
	i.mu.Lock()
	defer i.mu.Unlock()
	v := i.View()
	if i.run != run || v.Removed {
		return
	}
	i.view.Update(func(v *View) { v.Status, v.Silent = s, time.Time{} })
	rec := v.Record
	var event vm.Event
	switch state := rec.State; {
	case state == vm.Starting && s.Phase == supervisor.Ready:
		event = vm.Ready
	case state == vm.Running && s.Held != "":
		event = vm.Pause
	case state == vm.Paused && s.Held == "" && s.Phase == supervisor.Ready:
		event = vm.Resume
	}
	learned := s.VMM != nil && (rec.Run.VMM == nil || *rec.Run.VMM != *s.VMM) ||
		rec.Run.Supervisor == nil || s.BootID != "" && s.BootID != rec.Run.BootID ||
		s.Disk != "" && s.Disk != rec.Run.Disk ||
		s.OutOfMemory != nil && (rec.Run.OutOfMemory == nil || *rec.Run.OutOfMemory != *s.OutOfMemory)
	if event == "" && !learned {
		return
	}
	i.noteLocked(event, func(r *vm.Record) {
		sup := s.Supervisor
		r.Run.Supervisor = &sup
		if s.VMM != nil {
			r.Run.VMM, r.Run.Gaps = s.VMM, s.Gaps
		}
		if s.BootID != "" {
			r.Run.BootID = s.BootID
		}
		if s.Disk != "" {
			r.Run.Disk = s.Disk
		}
		if s.OutOfMemory != nil {
			r.Run.OutOfMemory = s.OutOfMemory
		}
	})
}

// ended is called once a run, when it is gone.
func (i *Instance) ended(run int, why error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	v := i.View()
	if i.run != run || v.Removed {
		return
	}
	i.endLocked(v, why)
}

// endLocked notes the end of a run that is gone, and gives back what it took.
func (i *Instance) endLocked(v View, why error) {
	status := v.Status
	if status.Ending == nil {
		// The stream broke: the supervisor may have written the end down.
		if s, err := supervisor.ReadRun(i.Dir()); err == nil && (v.Record.Run.Supervisor == nil || s.Supervisor == *v.Record.Run.Supervisor) {
			status = s
		}
	}
	ending := status.Ending
	if ending == nil {
		ending = lost(v.Record)
		i.log.Warn("its supervisor is gone without a word", "err", why)
	}
	if by := i.endedBy; by != nil && ending.Cause != vm.CauseStopped {
		forced := *by
		forced.At, forced.Console = ending.At, ending.Console
		ending = &forced
	}
	i.endedBy = nil
	i.run++
	i.release(v.Record.Run)
	event := vm.Ended
	if status.Failed && v.Record.State == vm.Starting {
		event = vm.Fail
	}
	i.noteLocked(event, func(r *vm.Record) {
		r.Ending = ending
		r.Run.Supervisor, r.Run.VMM = nil, nil
	})
	i.view.Update(func(v *View) { v.Status, v.HasRun, v.Silent = supervisor.Status{}, false, time.Time{} })
}

// lost is the ending of a run that nobody described.
func lost(rec vm.Record) *vm.Ending {
	e := &vm.Ending{At: time.Now().UTC(), Cause: vm.CauseLost, Detail: "its supervisor is gone without a word"}
	if rec.Run.HostBootID != process.BootID() {
		e.Cause, e.Detail = vm.CauseHostBoot, ""
	}
	return e
}
