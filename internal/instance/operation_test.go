package instance

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"banger/internal/progress"
)

// bench is a slot with verbs that last as long as a test wants.
type bench struct {
	slot
	t  *testing.T
	mu sync.Mutex
	// ran are the verbs in the order in which they began.
	ran []string
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t}
	life, end := context.WithCancel(t.Context())
	b.slot = slot{vmName: func() string { return "a" }, life: life, work: &sync.WaitGroup{}, changed: func(string) {}}
	t.Cleanup(func() {
		end()
		b.work.Wait()
	})
	return b
}

// lasts is a verb's work: a minute, if nobody ends it.
func (b *bench) lasts(name string) func(context.Context, progress.Func) error {
	return func(ctx context.Context, _ progress.Func) error {
		b.mu.Lock()
		b.ran = append(b.ran, name)
		b.mu.Unlock()
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Minute):
			return nil
		}
	}
}

// call is a caller of a verb, and its answer.
type call struct {
	b     *bench
	err   error
	over  bool
	steps []string
}

// do has a caller ask for a verb, and returns when all stand still.
func (b *bench) do(ctx context.Context, v verb) *call {
	c := &call{b: b}
	go func() { // ends with the answer
		err := b.slot.do(ctx, v, func(s progress.Step) {
			b.mu.Lock()
			defer b.mu.Unlock()
			c.steps = append(c.steps, s.Text)
		}, b.lasts(v.name))
		b.mu.Lock()
		defer b.mu.Unlock()
		c.err, c.over = err, true
	}()
	synctest.Wait()
	return c
}

// said is what the caller was told so far.
func (c *call) said() string {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	return strings.Join(c.steps, "; ")
}

// answered gives the answer, if there is one by now.
func (c *call) answered() (over bool, err error) {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	return c.over, c.err
}

// answer waits for it.
func (c *call) answer() error {
	c.b.t.Helper()
	time.Sleep(10 * time.Minute) // of the bubble's
	synctest.Wait()
	over, err := c.answered()
	if !over {
		c.b.t.Fatal("a caller has no answer")
	}
	return err
}

func (b *bench) wantRan(want ...string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if strings.Join(b.ran, " ") != strings.Join(want, " ") {
		b.t.Errorf("ran %q, want %q", b.ran, want)
	}
}

var (
	aStart  = verb{name: "start", key: "start"}
	aStop   = verb{name: "stop", key: "stop", rank: rankStop}
	aDelete = verb{name: "delete -f", key: "delete", rank: rankDelete}
	aKill   = verb{name: "kill", key: "kill", rank: rankKill}
)

func TestEqualOperationsJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		one, two := b.do(t.Context(), aStart), b.do(t.Context(), aStart)
		if err := errors.Join(one.answer(), two.answer()); err != nil {
			t.Error(err)
		}
		b.wantRan("start")
	})
}

func TestOperationsQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		set := b.do(t.Context(), verb{name: "set", key: "set"})
		start := b.do(t.Context(), aStart)
		again := b.do(t.Context(), verb{name: "set", key: "set"}) // behind the start: no equal of the first
		if got := start.said(); !strings.Contains(got, "waiting for set of a") {
			t.Errorf("the second says %q", got)
		}
		if err := errors.Join(set.answer(), start.answer(), again.answer()); err != nil {
			t.Error(err)
		}
		b.wantRan("set", "start", "set")
	})
}

// Each verb that is stronger ends the one before it, and none yields to a weaker
// or an equal one.
func TestRanks(t *testing.T) {
	ranked := []verb{aStart, aStop, aDelete, aKill}
	for n, weak := range ranked {
		for _, strong := range ranked[n+1:] {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				first, second := b.do(t.Context(), weak), b.do(t.Context(), strong)
				var by *EndedByError
				if err := first.answer(); !errors.As(err, &by) || by.By != strong.name || by.Verb != weak.name {
					t.Errorf("%s before %s: %v", strong.name, weak.name, err)
				}
				if err := second.answer(); err != nil {
					t.Errorf("%s: %v", strong.name, err)
				}
				b.wantRan(weak.name, strong.name)
			})
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				first, second := b.do(t.Context(), strong), b.do(t.Context(), weak)
				if err := errors.Join(first.answer(), second.answer()); err != nil {
					t.Errorf("%s after %s: %v", weak.name, strong.name, err)
				}
				b.wantRan(strong.name, weak.name)
			})
		}
	}
}

// What waits is ended too, before its turn.
func TestWaitingOperationIsEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		kill := b.do(t.Context(), aKill)
		start := b.do(t.Context(), aStart)
		b.do(t.Context(), aStop)
		var by *EndedByError
		if over, err := start.answered(); !over || !errors.As(err, &by) || by.By != "stop" {
			t.Errorf("a start that waits, and then a stop: %v, %v", over, err)
		}
		if err := kill.answer(); err != nil {
			t.Error(err)
		}
		b.wantRan("kill", "stop")
	})
}

// An operation ends when its last caller leaves, unless it goes on.
func TestCallersLeave(t *testing.T) {
	for _, goesOn := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			v := verb{name: "v", key: "v", goesOn: goesOn}
			one, leaveOne := context.WithCancel(t.Context())
			two, leaveTwo := context.WithCancel(t.Context())
			b.do(one, v)
			b.do(two, v)
			leaveOne()
			synctest.Wait()
			if !b.busy() {
				t.Error("it ended when one of two callers left")
			}
			leaveTwo()
			synctest.Wait()
			if b.busy() != goesOn {
				t.Errorf("goesOn %v: busy %v when all callers have left", goesOn, b.busy())
			}
		})
	}
}

// An operation that clears is run though its caller had left before.
func TestClears(t *testing.T) {
	for _, clears := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			gone, leave := context.WithCancel(t.Context())
			leave()
			c := b.do(gone, verb{name: "v", key: "v", clears: clears})
			if err := c.answer(); !errors.Is(err, context.Canceled) {
				t.Errorf("clears %v: the caller hears %v", clears, err)
			}
			if clears {
				b.wantRan("v")
			} else {
				b.wantRan()
			}
		})
	}
}
