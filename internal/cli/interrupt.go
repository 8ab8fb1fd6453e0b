package cli

import (
	"context"
	"os"
	"os/signal"
	"sync/atomic"
	"time"
)

// interruptLimit is how long a command may take to return after the first signal
// that asks it to end.
const interruptLimit = 2 * time.Second

// interruption answers the signals that ask this program to end: the first one
// cancels the command, and a second one, or two seconds, end the program.
type interruption struct {
	// answering counts the parts of the program that answer signals themselves,
	// such as a session; while it is not 0, nothing is ended by force.
	answering atomic.Int32
	// restore puts the terminal back before the program ends by force.
	restore atomic.Pointer[func()]

	limit time.Duration // interruptLimit, shorter in tests
	exit  func(status int)
}

// answer says that the caller answers signals itself until the returned
// function is called.
func (i *interruption) answer() (done func()) {
	i.answering.Add(1)
	return func() { i.answering.Add(-1) }
}

// context returns a context that the first of signals ends. stop ends the
// watching.
func (i *interruption) context(parent context.Context, signals []os.Signal) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancel(parent)
	caught := make(chan os.Signal, 4)
	notify(caught, signals)
	over, done := make(chan struct{}), make(chan struct{})
	go func() { // ends with stop
		defer close(done)
		i.watch(caught, over, cancel)
	}()
	return ctx, func() {
		signal.Stop(caught)
		close(over)
		<-done
		cancel()
	}
}

func (i *interruption) watch(caught <-chan os.Signal, over <-chan struct{}, cancel func()) {
	select {
	case <-caught:
	case <-over:
		return
	}
	cancel()
	timer := time.NewTimer(i.limit)
	defer timer.Stop()
	for {
		select {
		case <-caught:
		case <-timer.C:
			timer.Reset(i.limit)
		case <-over:
			return
		}
		if i.answering.Load() == 0 {
			if f := i.restore.Load(); f != nil {
				(*f)()
			}
			i.exit(exitInterrupted)
		}
	}
}
