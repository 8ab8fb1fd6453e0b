package instance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"banger/internal/progress"
	"banger/internal/supervisor"
	"banger/internal/vm"
)

const (
	// stopBackstop is the time from a stop's request to force. It is beyond the
	// supervisor's own longest grace of 30 s, for a supervisor that does nothing.
	stopBackstop = 45 * time.Second
	// askLimit bounds one request to a supervisor.
	askLimit = time.Second
)

var discard = progress.Discard

// Stop ends a VM, its services first, and waits for the end. One that does not
// run is left as it is. The stop goes on when its callers leave.
func (i *Instance) Stop(ctx context.Context, step progress.Func) error {
	return i.do(ctx, stopVerb, step, i.stop)
}

var stopVerb = verb{name: "stop", rank: rankStop, key: "stop", goesOn: true}

func (i *Instance) stop(ctx context.Context, step progress.Func) error {
	v := i.View()
	if !v.HasRun && v.Record.State != vm.Starting {
		step(progress.Step{Notice: v.Record.Spec.Name + " is not running"})
		return nil
	}
	if err := i.note(vm.Stop, func(r *vm.Record) { r.Restart = false }); err != nil {
		return i.stateError(err, "stopped")
	}
	if err := i.endSaved(ctx, step, supervisor.Stop{}); err != nil {
		return err
	}
	i.tellForced(step)
	return nil
}

// tellForced says that the last run did not end by itself.
func (i *Instance) tellForced(step progress.Func) {
	if e := i.View().Record.Ending; e != nil && e.Forced {
		text := i.Name() + " did not end in its time and was forced"
		if e.Detail != "" {
			text += ": " + e.Detail
		}
		step(progress.Step{Notice: text + "; what its programs had not synced to disk is lost"})
	}
}

// stateError turns the table's refusal into words about the VM.
func (i *Instance) stateError(err error, done string) error {
	if move := (*vm.MoveError)(nil); errors.As(err, &move) {
		return &StateError{i.Name(), move.State, done}
	}
	return err
}

// end asks the supervisor for the end of the run until it comes, and uses force
// at the backstop. If ctx ends, the run is left as it is.
func (i *Instance) end(ctx context.Context, step progress.Func, how supervisor.Stop) error {
	gone := func(v View) bool { return !v.HasRun }
	if v := i.View(); gone(v) { // intended, but never launched
		i.mu.Lock()
		defer i.mu.Unlock()
		i.endLocked(v, nil)
		return nil
	}
	over, cancel := context.WithTimeoutCause(ctx, stopBackstop, errBackstop)
	defer cancel()
	asked := make(chan error, 1)
	i.set.work.Go(func() { asked <- i.ask(over, how) }) // ends with over or the run
	_, err := i.await(over, step, "stop", gone)
	cancel()
	why := <-asked
	if err == nil || ctx.Err() != nil {
		return err
	}
	detail := "its supervisor did not end the run"
	if why != nil {
		detail = fmt.Sprintf("its supervisor did not answer: %v", why)
	}
	i.log.Warn("force the end of a run", "why", detail)
	return i.force(ctx, vm.Ending{Cause: vm.CauseStopped, Detail: detail, Forced: true})
}

var errBackstop = errors.New("the run did not end in its time")

// ask repeats the request until it is heard or ctx ends; it returns the last
// error.
func (i *Instance) ask(ctx context.Context, how supervisor.Stop) error {
	client := supervisor.NewClient(i.Dir())
	wait := 50 * time.Millisecond
	for {
		once, cancel := context.WithTimeout(ctx, askLimit)
		err := client.Stop(once, how)
		cancel()
		if err == nil || !i.View().HasRun {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
			wait = min(2*wait, askAgain)
		}
	}
}
