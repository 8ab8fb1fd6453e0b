package cli

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"banger/internal/api"
	"banger/internal/hint"
)

// Exit statuses that are banger's own; every other one is a guest command's.
const (
	exitUsage       = 2   // the command line can't be meant
	exitFailed      = 125 // banger could not do it
	exitInterrupted = 130 // the user or the system ended it
)

// statusError is a guest command's exit status, passed on without a word.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// errReported says that the message is out already.
var errReported = errors.New("reported")

// exitCode is the one table from errors to exit statuses.
func exitCode(ctx context.Context, err error) int {
	var (
		status statusError
		usage  *usageError
		fault  *api.Fault
	)
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	case errors.As(err, &usage):
		return exitUsage
	case ctx.Err() != nil, errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.As(err, &fault) && fault.Code == api.CodeInvalid:
		return exitUsage
	case errors.Is(err, syscall.EPIPE):
		return 128 + int(syscall.SIGPIPE) // as a program without a word for it
	}
	return exitFailed
}

// report prints an error and what to type next.
func (a *app) report(err error) {
	var status statusError
	if err == nil || errors.As(err, &status) || errors.Is(err, errReported) || errors.Is(err, syscall.EPIPE) {
		return
	}
	if errors.Is(err, context.Canceled) {
		a.note("interrupted")
		return
	}
	a.note("%v", err)
	a.advise(err)
}

func (a *app) advise(err error) {
	advice := hint.Of(err)
	var f *api.Fault
	if errors.As(err, &f) {
		if len(f.Console) > 0 {
			fmt.Fprintln(a.stderr, "  the last lines of its console:")
			for _, l := range f.Console {
				fmt.Fprintln(a.stderr, "    "+clean(l))
			}
		}
		if f.VM != "" {
			fmt.Fprintf(a.stderr, "  VM %s was kept for a look: banger vm logs %s; banger vm delete %s\n", f.VM, f.VM, f.VM)
		}
		if advice == "" {
			advice = f.Hint
		}
	}
	if advice != "" {
		fmt.Fprintln(a.stderr, "  "+advice)
	}
}
