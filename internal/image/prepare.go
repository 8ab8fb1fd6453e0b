package image

import (
	"context"

	"banger/internal/progress"
)

// preparation is the getting of what the writer needs, beside another one's work: neither
// goes on if the other has failed.
type preparation struct {
	ctx  context.Context // of the other work
	stop context.CancelCauseFunc
	done chan error
}

func (s *Store) prepare(ctx context.Context, step progress.Func) *preparation {
	p := &preparation{done: make(chan error, 1)}
	p.ctx, p.stop = context.WithCancelCause(ctx)
	go func() { // ends with p.ctx; wait waits for it
		var err error
		if s.writer.Prepare != nil {
			err = s.writer.Prepare(p.ctx, step)
		}
		if err != nil {
			p.stop(err)
		}
		p.done <- err
	}()
	return p
}

// wait ends the preparation if the other work has failed with err, and returns which of
// the two errors came first.
func (p *preparation) wait(err error) error {
	if err != nil {
		p.stop(err)
	}
	own := <-p.done
	if own != nil && (err == nil || context.Cause(p.ctx) == own) {
		err = own
	}
	p.stop(nil)
	return err
}
