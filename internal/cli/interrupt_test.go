package cli

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// interruptible is an interruption whose forced exits go to a channel.
func interruptible(limit time.Duration) (*interruption, chan int) {
	exits := make(chan int, 8)
	i := &interruption{limit: limit, exit: func(status int) {
		select {
		case exits <- status:
		default:
		}
	}}
	return i, exits
}

func (i *interruption) start(t *testing.T) (ctx context.Context, caught chan os.Signal) {
	ctx, cancel := context.WithCancel(t.Context())
	caught, over, done := make(chan os.Signal, 4), make(chan struct{}), make(chan struct{})
	go func() { // ends with the test
		defer close(done)
		i.watch(caught, over, cancel)
	}()
	t.Cleanup(func() {
		close(over)
		<-done
		cancel()
	})
	return ctx, caught
}

// The first signal cancels; a command that does not return is ended at the
// limit, its terminal restored first.
func TestInterruptLimit(t *testing.T) {
	i, exits := interruptible(20 * time.Millisecond)
	restored := false
	restore := func() { restored = true }
	i.restore.Store(&restore)
	ctx, caught := i.start(t)
	caught <- syscall.SIGINT
	<-ctx.Done()
	if got := <-exits; got != exitInterrupted || !restored {
		t.Errorf("exit status %d, the terminal restored: %v; want %d, true", got, restored, exitInterrupted)
	}
}

// A second signal does not wait for the limit.
func TestSecondInterrupt(t *testing.T) {
	i, exits := interruptible(time.Hour)
	_, caught := i.start(t)
	caught <- syscall.SIGTERM
	caught <- syscall.SIGTERM
	if got := <-exits; got != exitInterrupted {
		t.Errorf("exit status %d, want %d", got, exitInterrupted)
	}
}

// A part that answers signals itself is never ended by force.
func TestAnsweredInterrupt(t *testing.T) {
	i, exits := interruptible(10 * time.Millisecond)
	done := i.answer()
	ctx, caught := i.start(t)
	caught <- syscall.SIGINT
	<-ctx.Done()
	select {
	case <-exits:
		t.Error("the program was ended while a session answered its signals")
	case <-time.After(50 * time.Millisecond): // several limits
	}
	done()
	<-exits
}

// Of several VMs that are worked on when a signal comes, those that are open are
// named once.
func TestInterruptedVerb(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	asked := make(chan struct{}, 2)
	untilGone := func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // only then does the server look whether the caller is there
		asked <- struct{}{}
		<-r.Context().Done()
	}
	newDaemon(t, answers{"POST /v1/vms/a/stop": untilGone, "POST /v1/vms/b/stop": untilGone})
	go func() { // ends with the two requests
		<-asked
		<-asked
		cancel()
	}()
	a, o := newApp(t)
	root := a.root()
	root.SetArgs([]string{"vm", "stop", "a", "b"})
	err := root.ExecuteContext(ctx)
	a.report(err)
	if !errors.Is(err, context.Canceled) || exitCode(ctx, err) != exitInterrupted {
		t.Errorf("vm stop: %v, exit status %d; want an interruption, %d", err, exitCode(ctx, err), exitInterrupted)
	}
	if got := o.stderr(); !strings.HasSuffix(got, "banger: bangerd goes on with a, b\nbanger: interrupted\n") {
		t.Errorf("stderr has %q, want one line about the VMs and one about the interruption at its end", got)
	}
}

// A signal that was ignored when the program began is none that ends it.
func TestNotifyNothing(t *testing.T) {
	c := make(chan os.Signal, 1)
	notify(c, nil)
	if err := syscall.Kill(os.Getpid(), syscall.SIGWINCH); err != nil {
		t.Fatal(err)
	}
	select {
	case s := <-c:
		t.Errorf("notify of no signals passes on %v", s)
	case <-time.After(20 * time.Millisecond): // it comes within microseconds
	}
}
