package instance

import (
	"context"
	"fmt"
	"slices"
	"time"

	"banger/internal/fault"
	"banger/internal/progress"
	"banger/internal/supervisor"
	"banger/internal/vm"
)

// Signals are those that Kill takes.
var Signals = []string{"KILL", "TERM", "INT", "HUP", "QUIT", "USR1", "USR2", "ABRT"}

// killAfter is the time from a signal that the VMM may block to SIGKILL.
const killAfter = 2 * time.Second

// Kill ends a VM at once: it sends the signal to the VMM, and SIGKILL 2 s later.
// It goes before every other verb. What the guest had synced is kept. A VM that
// does not run is left as it is.
func (i *Instance) Kill(ctx context.Context, sig string, step progress.Func) error {
	fill(&sig, "KILL")
	if !slices.Contains(Signals, sig) {
		return &vm.FieldError{Field: "signal", Err: fmt.Errorf("%q is not one of %q", sig, Signals)}
	}
	v := verb{name: "kill", rank: rankKill, key: "kill " + sig, goesOn: true}
	return i.do(ctx, v, step, func(ctx context.Context, step progress.Func) error { return i.kill(ctx, step, sig) })
}

func (i *Instance) kill(ctx context.Context, step progress.Func, sig string) error {
	v := i.View()
	if !v.HasRun && v.Record.State != vm.Starting && v.Record.State != vm.Deleting {
		step(progress.Step{Notice: v.Record.Spec.Name + " is not running"})
		return nil
	}
	err := i.note(vm.Kill, func(r *vm.Record) { r.Restart, r.Discard = false, false })
	if err != nil {
		return i.stateError(err, "killed")
	}
	by := vm.Ending{Cause: vm.CauseKilled, Detail: "SIG" + sig}
	if v = i.View(); !v.HasRun {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.endedBy = &by
		i.endLocked(v, nil)
		return nil
	}
	if sig != "KILL" {
		if i.askToKill(ctx, step, sig) {
			return nil
		}
	}
	return i.force(ctx, by)
}

// askToKill passes the signal on and reports whether the run ended of it in its
// time.
func (i *Instance) askToKill(ctx context.Context, step progress.Func, sig string) bool {
	over, cancel := context.WithTimeout(ctx, killAfter)
	defer cancel()
	once, cancelAsk := context.WithTimeout(over, askLimit)
	defer cancelAsk()
	err := fault.Do("kill.ask", func() error {
		return supervisor.NewClient(i.Dir()).Kill(once, supervisor.Kill{Signal: sig})
	})
	if err != nil {
		i.log.Warn("ask the supervisor to kill", "err", err)
		return false
	}
	_, err = i.await(over, step, "stop", func(v View) bool { return !v.HasRun })
	return err == nil
}
