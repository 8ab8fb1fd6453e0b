package instance

import (
	"context"
	"fmt"
	"strings"

	"banger/internal/progress"
	"banger/internal/vm"
)

// Gone is the state of a VM that is deleted, for Wait.
const Gone vm.State = "gone"

// waitable are the states that Wait takes.
var waitable = []vm.State{vm.Created, vm.Starting, vm.Running, vm.Paused, vm.Stopping, vm.Stopped, vm.Error, vm.Deleting, Gone}

// Wait waits until the VM has the state. Wait for a state of a VM that is
// deleted meanwhile ends with ErrNotFound. It waits for no verb.
func (i *Instance) Wait(ctx context.Context, state vm.State, step progress.Func) error {
	known := false
	var names []string
	for _, s := range waitable {
		known = known || s == state
		names = append(names, string(s))
	}
	if !known {
		return &vm.FieldError{Field: "state", Err: fmt.Errorf("%q is not one of %s", state, strings.Join(names, ", "))}
	}
	step(progress.Step{Stage: "wait", Text: fmt.Sprintf("%s is %s", i.Name(), i.View().Record.State)})
	_, err := i.await(ctx, step, "wait", func(v View) bool {
		return v.Removed && state == Gone || !v.Removed && v.Record.State == state
	})
	return err
}
