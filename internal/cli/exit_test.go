package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"banger/internal/api"
	"banger/internal/channel/exec"
	"banger/internal/hint"
)

func TestExitCode(t *testing.T) {
	live := context.Background()
	over, cancel := context.WithCancel(live)
	cancel()
	plain := errors.New("no")
	for _, test := range []struct {
		name string
		ctx  context.Context
		err  error
		want int
	}{
		{"success", live, nil, 0},
		{"a command's status", live, statusError(42), 42},
		{"a command's status that looks like banger's", live, statusError(125), 125},
		{"a command's status after a signal", over, statusError(9), 9},
		{"a command that succeeded after a signal", over, nil, 0},
		{"usage", live, usagef("x"), 2},
		{"usage, wrapped", live, fmt.Errorf("y: %w", usagef("x")), 2},
		{"banger's own failure", live, plain, 125},
		{"with a hint", live, hint.Add(plain, "do"), 125},
		{"fault", live, &api.Fault{Code: api.CodeBoot}, 125},
		{"fault: cancelled by the daemon's end", live, &api.Fault{Code: api.CodeCancelled}, 125},
		{"fault: what only the daemon could check", live, &api.Fault{Code: api.CodeInvalid}, 2},
		{"interrupted", over, context.Canceled, 130},
		{"interrupted, whatever came of it", over, plain, 130},
		{"a session's own interruption", live, context.Canceled, 130},
		{"told already", live, fmt.Errorf("%w: %w", errReported, plain), 125},
		{"nobody reads the output", live, &os.PathError{Op: "write", Err: syscall.EPIPE}, 141},
		{"full disk", live, &os.PathError{Op: "write", Err: syscall.ENOSPC}, 125},
	} {
		if got := exitCode(test.ctx, test.err); got != test.want {
			t.Errorf("%s: exitCode(%v) = %d, want %d", test.name, test.err, got, test.want)
		}
	}
}

// The guest's statuses, as the agent reports them, become banger's unchanged.
func TestGuestStatus(t *testing.T) {
	for want, s := range map[int]exec.Status{
		0:   {Kind: exec.Exited},
		42:  {Kind: exec.Exited, Code: 42},
		255: {Kind: exec.Exited, Code: 255},
		137: {Kind: exec.Signalled, Signal: 9},
		192: {Kind: exec.Signalled, Signal: 64},
		127: {Kind: exec.NotFound},
		126: {Kind: exec.NotExecutable},
		125: {Kind: exec.Failed},
	} {
		if got := exitCode(t.Context(), statusError(s.ExitCode())); got != want {
			t.Errorf("a process that ended with %+v gives %d, want %d", s, got, want)
		}
	}
}

func TestReport(t *testing.T) {
	boot := &api.Fault{Code: api.CodeBoot, Message: "start VM \"a\": panic", Console: []string{"one", "t\x1b[31mwo"}, VM: "a", Hint: "look"}
	for _, test := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{statusError(3), ""},
		{fmt.Errorf("%w: x", errReported), ""},
		{syscall.EPIPE, ""},
		{context.Canceled, "banger: interrupted\n"},
		{errors.New("no\nand\x1b]0;no\a"), "banger: no\n  and\\x1b]0;no\\x07\n"},
		{hint.Add(errors.New("no"), "banger yes"), "banger: no\n  banger yes\n"},
		{fmt.Errorf("a: %w", &api.Fault{Message: "no", Hint: "yes"}), "banger: a: no\n  yes\n"},
		{boot, strings.Join([]string{`banger: start VM "a": panic`, "  the last lines of its console:", "    one", `    t\x1b[31mwo`,
			"  VM a was kept for a look: banger vm logs a; banger vm delete a", "  look", ""}, "\n")},
	} {
		a, o := newApp(t)
		a.report(test.err)
		if got := o.stderr(); got != test.want {
			t.Errorf("report(%#v) wrote\n%q\nwant\n%q", test.err, got, test.want)
		}
	}
}
