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

// codeHints are what helps with a code when the daemon knows nothing better.
var codeHints = map[api.Code]string{
	api.CodeNotFound:  "banger vm list shows what there is; banger trash list what was deleted",
	api.CodeAmbiguous: "give more of the id, or the name",
	api.CodeMissing:   "banger doctor says what this host lacks",
	api.CodeNoSpace:   "banger trash empty frees the disks of deleted VMs; df -h shows which disk is full",
	api.CodeMemory:    "stop another VM, choose a smaller --memory, or add --force",
	api.CodeReadOnly:  "the host's kernel log (dmesg) says why; VMs that run go on",
	api.CodeDamaged:   "banger doctor says what is damaged and what mends it",
	api.CodeSilent:    "nothing was ended; try again when the host is less busy, or banger vm kill ends the VM at once",
	api.CodeEnded:     "banger vm list shows what became of it",
	api.CodeVersion:   "banger daemon stop; the next command starts the right bangerd",
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
		if text == "" {
			text = codeHints[f.Code]
			if f.Code == api.CodeNotFound && f.Field == "image" {
				text = "banger image list shows what there is"
			}
		}
		if f.Code == api.CodeInternal && f.Op != "" {
			lines = append(lines, fmt.Sprintf("operation %s in bangerd's log, which banger daemon status names", f.Op))
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
