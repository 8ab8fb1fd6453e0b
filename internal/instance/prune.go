package instance

import (
	"context"
	"errors"
	"slices"

	"banger/internal/progress"
	"banger/internal/vm"
)

// Prune moves the VMs that don't run to the trash, or only says which they are.
// With ids it takes no others. It never takes a VM that runs or that a verb is
// at work on. It goes on after an error and returns what it did take.
func (s *Set) Prune(ctx context.Context, ids []vm.ID, dryRun bool, step progress.Func) ([]*Instance, error) {
	var taken []*Instance
	var errs []error
	for _, i := range s.All() {
		if ids != nil && !slices.Contains(ids, i.id) || i.View().Live() || i.slot.busy() {
			continue
		}
		if !dryRun {
			step(progress.Step{Stage: "delete", Text: i.Name()})
			var state *StateError
			err := i.Delete(ctx, DeleteOptions{}, step)
			if errors.As(err, &state) {
				continue // it was started meanwhile
			}
			if err != nil {
				errs = append(errs, err)
				continue
			}
		}
		taken = append(taken, i)
	}
	return taken, errors.Join(errs...)
}
