package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"banger/internal/api"
	"banger/internal/channel"
	"banger/internal/channel/exec"
	"banger/internal/session"
)

// ttyFlags decide about the pseudo-terminal.
type ttyFlags struct{ force, never bool }

func (f *ttyFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&f.force, "tty", "t", false, "use a pseudo-terminal even where stdin or stdout is none")
	cmd.Flags().BoolVarP(&f.never, "no-tty", "T", false, "use no pseudo-terminal")
}

func (f *ttyFlags) check() error {
	if f.force && f.never {
		return usagef("-t and -T exclude each other")
	}
	return nil
}

type sessionOptions struct {
	argv []string // empty for a shell
	tty  ttyFlags
}

// enter finds the running VM that ref names.
func (a *app) enter(ctx context.Context, c *api.Client, ref string) (where api.Session, err error) {
	return where, c.Get(ctx, api.Path(api.PathSession, ref), &where)
}

// session runs a process in a running VM, and returns its status as a
// statusError, or nil for 0.
func (a *app) session(ctx context.Context, c *api.Client, where api.Session, o sessionOptions) error {
	stream, err := session.Dial(ctx, where.Socket, channel.PortExec)
	if err != nil {
		return err
	}
	so := session.Options{
		Request: exec.Request{Argv: exec.Args(o.argv...)},
		Stdin:   a.stdin, Stdout: a.stdout, Stderr: a.stderr,
	}
	if o.tty.force || (!o.tty.never && term.IsTerminal(int(a.stdin.Fd())) && term.IsTerminal(int(a.stdout.Fd()))) {
		t, err := session.OpenTerminal(a.stdin, a.stdout)
		if err != nil {
			stream.Close()
			return fmt.Errorf("prepare the terminal: %w", err)
		}
		defer t.Close()
		so.Request.TTY, so.Request.Size, so.Sizes = true, t.Size(), t.Sizes()
		if v := os.Getenv("TERM"); v != "" {
			so.Request.Env = exec.Args("TERM=" + v)
		}
	}
	status, err := a.untilSignal(ctx, func(ctx context.Context, signals <-chan os.Signal) (exec.Status, error) {
		so.Signals = signals
		return session.Run(ctx, stream, so)
	})
	switch {
	case errors.Is(err, session.ErrBroken):
		return a.explainBreak(ctx, c, where, err)
	case err != nil:
		return err
	}
	if status.Message != "" {
		a.note("%s", status.Message)
	}
	if code := status.ExitCode(); code != 0 {
		return statusError(code)
	}
	return nil
}

// untilSignal runs do with the session's own answer to signals: the first
// SIGINT goes to the guest's command, as a terminal's would; a second one, and
// any SIGTERM or SIGHUP, ends the session.
func (a *app) untilSignal(ctx context.Context, do func(context.Context, <-chan os.Signal) (exec.Status, error)) (exec.Status, error) {
	caught := make(chan os.Signal, 4)
	signal.Notify(caught, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(caught)
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	if ctx.Err() != nil { // it came before
		return exec.Status{}, ctx.Err()
	}
	passed := make(chan os.Signal, 1)
	over := make(chan struct{})
	done := make(chan struct{})
	go func() { // ends with over
		defer close(done)
		asked := false
		for {
			select {
			case s := <-caught:
				if (s == syscall.SIGINT || s == syscall.SIGQUIT) && !asked {
					asked = true
					passed <- s
					continue
				}
				end()
			case <-over:
				return
			}
		}
	}()
	status, err := do(life, passed)
	close(over)
	<-done
	return status, err
}

// breakWait is how long the daemon has to learn why a VM ended.
const breakWait = 3 * time.Second

// explainBreak says why a session's stream ended before its command.
func (a *app) explainBreak(ctx context.Context, c *api.Client, where api.Session, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), breakWait)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond) // the daemon pushes no news of a VM to a client
	defer tick.Stop()
	for {
		var v api.VM
		if gerr := c.Get(ctx, api.Path(api.PathVM, string(where.ID)), &v); gerr != nil {
			return err
		}
		if v.Ending != nil && !v.State.Live() {
			return &api.Fault{Code: api.CodeState, Console: v.Ending.Console,
				Message: fmt.Sprintf("VM %s ended under its session: %s", where.Name, endingText(*v.Ending))}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}
