package instance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"banger/internal/hint"
	"banger/internal/supervisor"
)

const (
	// answerLimit bounds a question that a supervisor answers at once.
	answerLimit = 10 * time.Second
	// checkLimit bounds one for which it asks the host's resolver (as a new policy that denies names does), or
	// another VM's supervisor.
	checkLimit = time.Minute
)

// question calls do, which asks the VM's supervisor, for limit at most. The error has the advice of a
// supervisor that refuses; one that does not answer is a SilentError.
func (i *Instance) question(ctx context.Context, limit time.Duration, do func(context.Context, *supervisor.Client) error) error {
	bound, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := do(bound, supervisor.NewClient(i.Dir()))
	if err != nil && bound.Err() != nil && ctx.Err() == nil {
		return hint.Add(&SilentError{i.Name(), "its supervisor", fmt.Errorf("no answer in %v", limit)}, "banger vm health "+i.Name()+" says how it is")
	}
	if r := (*supervisor.Refusal)(nil); errors.As(err, &r) && r.Hint != "" {
		return hint.Add(err, r.Hint)
	}
	return err
}
