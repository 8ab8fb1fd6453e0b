package instance

import (
	"context"
	"fmt"

	"banger/internal/progress"
	"banger/internal/supervisor"
	"banger/internal/vm"
)

// Restart stops a VM, its services first, and starts it again, as one operation.
// One that does not run is started.
func (i *Instance) Restart(ctx context.Context, o StartOptions, step progress.Func) error {
	return i.do(ctx, restartVerb(o), step, func(ctx context.Context, step progress.Func) error { return i.restart(ctx, step, o) })
}

func restartVerb(o StartOptions) verb {
	return verb{name: "restart", rank: rankOther, key: fmt.Sprintf("restart %t %t", o.Force, o.System), goesOn: true}
}

func (i *Instance) restart(ctx context.Context, step progress.Func, o StartOptions) error {
	if i.View().HasRun {
		if err := i.note(vm.Stop, func(r *vm.Record) { r.Restart = true }); err != nil {
			return i.stateError(err, "restarted")
		}
		if err := i.endSaved(ctx, step, supervisor.Stop{}); err != nil {
			return err
		}
		i.tellForced(step)
	}
	return i.start(ctx, step, o)
}
