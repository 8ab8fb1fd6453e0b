package instance

import (
	"context"

	"banger/internal/progress"
	"banger/internal/supervisor"
	"banger/internal/vm"
)

// saveStopped brings out the work of a VM that does not run: it runs for that alone,
// without the image's init, and does not run afterwards. One whose run for its work
// outlived the last daemon goes on with that.
func (i *Instance) saveStopped(ctx context.Context, step progress.Func) error {
	v := i.View()
	if v.Record.Unsaved() == "" && !v.HasRun {
		return nil
	}
	before := v.Record.Ending
	if v.Record.State != vm.Running {
		step(progress.Step{Notice: i.Name() + " does not run: it is started without its services, for its work alone"})
		if err := i.start(ctx, step, StartOptions{Force: true, forWork: true}); err != nil {
			return err
		}
	}
	err := i.saveBeforeEnd(ctx, step)
	if cause := cause(ctx); cause != nil {
		return cause // what took its place ends the run
	}
	if nerr := i.note(vm.Stop, func(r *vm.Record) { r.Restart = false }); nerr != nil {
		return i.stateError(nerr, "stopped")
	}
	if eerr := i.end(ctx, step, supervisor.Stop{}); eerr != nil {
		return eerr
	}
	if err != nil {
		return err
	}
	return i.settle(before)
}

// settle notes that nothing has run since the work was saved, if the run ended as it
// was asked to. ending, unless it is nil, is what is told of the last run that was the
// user's.
func (i *Instance) settle(ending *vm.Ending) error {
	if e := i.View().Record.Ending; e == nil || e.Cause != vm.CauseStopped || e.Forced {
		return nil
	}
	return i.note("", func(r *vm.Record) {
		r.Workspaces = withFinal(r.Workspaces, true)
		if ending != nil {
			r.Ending = ending
		}
	})
}
