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
	switch {
	case err == nil, errors.As(err, &status), errors.Is(err, errReported), errors.Is(err, syscall.EPIPE):
	case errors.Is(err, context.Canceled):
		a.note("interrupted")
	default:
		a.note("%v", err)
		for _, l := range advice(err) {
			fmt.Fprintf(a.stderr, "  %s\n", clean(l))
		}
	}
}

// advice is what a user can do about err, and what helps to find its cause.
func advice(err error) (lines []string) {
	text := hint.Of(err)
	var f *api.Fault
	if errors.As(err, &f) {
		if len(f.Console) > 0 {
			lines = append(lines, "the last lines of its console:")
			for _, l := range f.Console {
				lines = append(lines, "  "+l)
			}
		}
		if f.VM != "" {
			lines = append(lines, fmt.Sprintf("VM %s was kept for a look: banger vm logs %s; banger vm delete %s", f.VM, f.VM, f.VM))
		}
		if text == "" {
			text = f.Hint
		}
	}
	if text != "" {
		lines = append(lines, text)
	}
	return lines
}

// asFault is err as an API client would have got it.
func asFault(err error) *api.Fault {
	var f *api.Fault
	switch {
	case errors.As(err, &f):
		return f
	case errors.Is(err, context.Canceled):
		return &api.Fault{Code: api.CodeCancelled, Message: "interrupted"}
	}
	return &api.Fault{Code: api.CodeInternal, Message: err.Error(), Hint: hint.Of(err)}
}
