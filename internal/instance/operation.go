package instance

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"banger/internal/progress"
)

// Ranks of verbs. An operation ends all operations of a lower rank that came
// before it and yields to none of a lower or the same rank.
const (
	rankOther  = 0
	rankStop   = 1
	rankDelete = 2 // delete -f
	rankKill   = 3
)

// verb is what an operation does, as far as the slot needs to know.
type verb struct {
	name string // as the user types it
	rank int
	// key tells equal operations, which join: the verb and its options.
	key string
	// goesOn says that the operation goes on when all its callers left.
	goesOn bool
	// clears says that the body is run in any case, also if the operation was ended
	// before its turn: it clears away what was made before.
	clears bool
}

// operation is a verb under way, or waiting for its turn.
type operation struct {
	verb
	ctx    context.Context
	cancel context.CancelCauseFunc
	done   chan struct{} // closed when its callers get err
	err    error         // valid after done
	left   chan struct{} // closed when it left the queue
	again  chan struct{} // closed when an equal one joined it
	joined sync.Once     // closes again

	mu      sync.Mutex
	callers int
	steps   map[int]progress.Func
	next    int
	last    progress.Step // the newest, for a caller that joins
}

// slot holds the operations of one VM: the first one runs, the others wait for
// their turn.
type slot struct {
	vmName func() string
	life   context.Context // of the set
	work   *sync.WaitGroup
	// changed is told which verb runs, "" for none. It must not wait.
	changed func(running string)

	mu    sync.Mutex
	queue []*operation
}

// do runs the operation, or joins an equal one that is the last in the queue,
// and waits for its end or ctx's. step hears what the operation says. An
// operation whose callers have all left ends with errAbandoned, unless it goes
// on; what it leaves is cleared away without anybody waiting.
func (s *slot) do(ctx context.Context, v verb, step progress.Func, run func(context.Context, progress.Func) error) error {
	if s.life.Err() != nil {
		return ErrClosing
	}
	if ctx.Err() != nil && !v.clears {
		return ctx.Err()
	}
	op, leave := s.enqueue(v, step, run)
	select {
	case <-op.done:
		leave()
		return op.err
	case <-ctx.Done():
		s.mu.Lock() // nobody joins between the two
		if last := leave(); last && !op.goesOn {
			op.cancel(errAbandoned)
		}
		s.mu.Unlock()
		if s.life.Err() != nil { // a request's context ends with the daemon's
			return ErrClosing
		}
		return ctx.Err()
	}
}

// spawn is do without a caller: for what the daemon itself wants.
func (s *slot) spawn(v verb, run func(context.Context, progress.Func) error) {
	if s.life.Err() == nil {
		s.enqueue(v, progress.Discard, run)
	}
}

func (s *slot) enqueue(v verb, step progress.Func, run func(context.Context, progress.Func) error) (_ *operation, leave func() bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var last *operation
	for _, o := range s.queue {
		if o.rank < v.rank {
			o.cancel(&EndedByError{s.vmName(), o.name, v.name})
		}
		if o.ctx.Err() == nil {
			last = o
		}
	}
	if last != nil && last.key == v.key {
		last.joined.Do(func() { close(last.again) })
		return last, last.join(step)
	}
	op := &operation{verb: v, done: make(chan struct{}), left: make(chan struct{}), again: make(chan struct{}), steps: map[int]progress.Func{}}
	op.ctx, op.cancel = context.WithCancelCause(context.WithValue(s.life, againKey{}, op.again))
	leave = op.join(step)
	var before *operation
	if n := len(s.queue); n > 0 {
		before = s.queue[n-1]
	} else {
		s.changed(v.name)
	}
	s.queue = append(s.queue, op)
	s.work.Go(func() { s.run(op, before, run) }) // ends with op
	return op, leave
}

// run waits for op's turn and runs it. An operation that is ended before its
// turn does nothing, unless it clears, but its caller hears of it at once.
func (s *slot) run(op, before *operation, run func(context.Context, progress.Func) error) {
	told := false
	if before != nil {
		op.say(progress.Step{Stage: "queue", Text: fmt.Sprintf("waiting for %s of %s", before.name, s.vmName())})
		select {
		case <-before.left:
			op.say(progress.Step{Stage: "queue", Finished: true})
		case <-op.ctx.Done():
			op.err = cause(op.ctx)
			close(op.done)
			told = true
			<-before.left // the queue is left in order
		}
	}
	if !told {
		if op.err = cause(op.ctx); op.err == nil || op.clears {
			op.err = run(op.ctx, op.say)
		}
		var by *EndedByError
		if op.err != nil && errors.As(context.Cause(op.ctx), &by) {
			op.err = by
		}
	}
	op.cancel(nil)
	s.mu.Lock()
	s.queue = s.queue[1:]
	if len(s.queue) > 0 {
		s.changed(s.queue[0].name)
	} else {
		s.changed("")
	}
	s.mu.Unlock()
	close(op.left)
	if !told {
		close(op.done)
	}
}

// againKey is the key of a context's again.
type againKey struct{}

// again is closed when an equal operation joins the one that has ctx: somebody asked
// a second time. It is nil for a context of no operation.
func again(ctx context.Context) <-chan struct{} {
	c, _ := ctx.Value(againKey{}).(chan struct{})
	return c
}

// busy reports whether a verb is under way or waits.
func (s *slot) busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue) > 0
}

// cause is why ctx ended, with ErrClosing for the end of the set; nil while it
// goes on.
func cause(ctx context.Context) error {
	switch err := context.Cause(ctx); {
	case ctx.Err() == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return ErrClosing
	default:
		return err
	}
}

// join adds a caller. Its leave reports whether it was the last one.
func (o *operation) join(step progress.Func) (leave func() (last bool)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	id := o.next
	o.next++
	o.callers++
	o.steps[id] = step
	if o.last.Text != "" && !o.last.Finished {
		step(o.last)
	}
	return func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.steps, id)
		o.callers--
		return o.callers == 0
	}
}

// say passes a step on to all callers.
func (o *operation) say(p progress.Step) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if p.Notice == "" {
		o.last = p
	}
	for _, step := range o.steps {
		step(p)
	}
}
