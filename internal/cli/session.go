package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"banger/internal/api"
	"banger/internal/channel"
	"banger/internal/channel/exec"
	"banger/internal/hint"
	"banger/internal/session"
	"banger/internal/vm"
)

// ttyFlags decide about the pseudo-terminal.
type ttyFlags struct{ force, never bool }

func (f *ttyFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&f.force, "tty", "t", false, "use a pseudo-terminal although stdin or stdout is none")
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
	how  *commandFlags
	// quiet leaves out what is said beside the command's own output.
	quiet bool
}

// session runs a process in a running VM, and returns its status as a
// statusError, or nil for 0.
func (a *app) session(ctx context.Context, c *api.Client, where api.Session, o sessionOptions) error {
	began := time.Now()
	stream, err := a.dialGuest(ctx, c, where, channel.PortExec)
	if err != nil {
		return a.explainDial(ctx, c, where, err)
	}
	so := session.Options{
		Request: exec.Request{Argv: exec.Args(o.argv...)},
		Stdin:   a.stdin, Stdout: a.stdout, Stderr: a.stderr,
	}
	tty := o.how.tty
	terminals := !o.how.noStdin && term.IsTerminal(int(a.stdin.Fd())) && term.IsTerminal(int(a.stdout.Fd()))
	if o.how.noStdin {
		so.Stdin = nil
	}
	restore := func() error { return nil }
	if tty.force || (!tty.never && terminals) {
		t, err := openTerminal(a.stdin, a.stdout)
		if err != nil {
			stream.Close()
			return fmt.Errorf("prepare the terminal: %w", err)
		}
		defer t.close()
		restore = t.close
		so.Request.TTY, so.Request.Size, so.Sizes = true, t.size(), t.changes()
		so.Request.Env = terminalEnv()
	}
	o.how.fill(&so.Request, where.Dir)
	stop := a.tellSilence(ctx, where, so.Request.TTY)
	status, err := a.untilSignal(ctx, func(ctx context.Context, signals <-chan os.Signal) (exec.Status, error) {
		so.Signals = signals
		return session.Run(ctx, stream, so)
	})
	stop()
	restore() // what follows are lines
	if !o.quiet {
		a.noteDenials(ctx, c, where.Name, began)
	}
	switch {
	case errors.Is(err, session.ErrBroken):
		return a.explainBreak(ctx, c, where, began, err)
	case errors.As(err, new(*session.OldAgentError)):
		return hint.Add(fmt.Errorf("VM %s: %w", where.Name, err), "banger vm restart "+where.Name)
	case err != nil:
		return err
	}
	if status.Message != "" {
		a.note("%s", status.Message)
	}
	if status.OutOfMemory > 0 {
		a.note("%s", a.outOfMemory(ctx, c, where, status))
	}
	if code := status.ExitCode(); code != 0 {
		return statusError(code)
	}
	return nil
}

// slowLimit is how long a guest may be silent before that is said.
const slowLimit = 4 * time.Second

// dialGuest opens a stream to a service of the guest's agent. While it waits for a guest that is
// silent, it says so, with what the daemon knows.
func (a *app) dialGuest(ctx context.Context, c *api.Client, where api.Session, port uint32) (channel.Stream, error) {
	done := make(chan struct{})
	var telling sync.WaitGroup
	telling.Go(func() { // ends with done
		select {
		case <-time.After(slowLimit):
		case <-done:
			return
		}
		ctx, cancel := context.WithTimeout(ctx, breakWait)
		defer cancel()
		why := "its guest is very busy, or its agent hangs"
		if v, err := c.ShowVM(ctx, string(where.ID)); err == nil {
			why = cmp.Or(silence(v), why)
		}
		select {
		case <-done:
		default:
			a.note("VM %s does not answer yet: %s; going on waiting", where.Name, why)
		}
	})
	defer telling.Wait()
	defer close(done)
	return session.Dial(ctx, where.Socket, port)
}

// watchAfter is how long a session has lasted before its guest is watched: most end
// sooner.
const watchAfter = 2 * time.Second

// tellSilence says on stderr when the guest of a session does not answer any more, and
// when it does again, until stop is called. raw says that the terminal is in raw mode.
func (a *app) tellSilence(ctx context.Context, where api.Session, raw bool) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	begin, end := "", "\n"
	if raw && term.IsTerminal(int(a.stderr.Fd())) {
		begin, end = "\r\n", "\r\n"
	}
	said := ""
	tell := func(silent string) {
		if silent == said || ctx.Err() != nil {
			return
		}
		said = silent
		text := "answers again"
		if silent != "" {
			text = "does not answer: " + clean(silent) + "; going on waiting"
		}
		fmt.Fprintf(a.stderr, "%sbanger: VM %s %s%s", begin, where.Name, text, end)
	}
	var watching sync.WaitGroup
	watching.Go(func() { // ends with ctx
		for wait := watchAfter; ; wait = breakWait {
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return
			}
			if err := session.Watch(ctx, where.Socket, tell); errors.Is(err, session.ErrSilent) {
				tell(err.Error())
			}
		}
	})
	return func() {
		cancel()
		watching.Wait()
	}
}

// outOfMemory says that the guest's kernel killed the command, or some of its
// processes.
func (a *app) outOfMemory(ctx context.Context, c *api.Client, where api.Session, status exec.Status) string {
	text := "killed: out of memory"
	if status.ExitCode() != 128+int(syscall.SIGKILL) { // the command went on
		text = fmt.Sprintf("a process of the command was killed (%d in all): out of memory", status.OutOfMemory)
	}
	if v, err := c.ShowVM(ctx, string(where.ID)); err == nil {
		text += ", the guest has " + vm.FormatMiB(v.Spec.MemMiB) + ": --memory"
	}
	return text
}

// terminalEnv is what the environment says of the user's terminal.
func terminalEnv() (env [][]byte) {
	for _, key := range []string{"TERM", "COLORTERM"} {
		if v := os.Getenv(key); v != "" {
			env = append(env, []byte(key+"="+v))
		}
	}
	return env
}

// untilSignal runs do with the session's own answer to signals: the first
// SIGINT goes to the guest's command, as a terminal's would; a second one, and
// any SIGTERM or SIGHUP, ends the session.
func (a *app) untilSignal(ctx context.Context, do func(context.Context, <-chan os.Signal) (exec.Status, error)) (exec.Status, error) {
	caught := make(chan os.Signal, 4)
	notify(caught, a.sessionSignals())
	defer signal.Stop(caught)
	defer a.intr.answer()()
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	if ctx.Err() != nil { // a signal came before
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

const (
	// breakWait is how long the daemon has to learn why a VM ended.
	breakWait = 3 * time.Second
	// agentWait is how long an agent must have been gone to be what ended: with a VMM that
	// dies, its connection may be seen to break first.
	agentWait = time.Second
)

// explainBreak says why the stream of a session that began then ended before its
// command.
func (a *app) explainBreak(ctx context.Context, c *api.Client, where api.Session, began time.Time, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), breakWait)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond) // the daemon pushes no news of a VM to a client
	defer tick.Stop()
	var agent error // what is said unless the VM ends too
	var said <-chan time.Time
	for {
		v, serr := c.ShowVM(ctx, string(where.ID))
		if serr != nil {
			return err
		}
		if v.Ending != nil && !v.State.Live() {
			return &api.Fault{Code: api.CodeState, Console: v.Ending.Console, Hint: v.Ending.Hint,
				Message: fmt.Sprintf("VM %s ended under its session: %s", where.Name, endingText(*v.Ending))}
		}
		if agent == nil && (v.AgentEndedAt.After(began) || !v.AgentGoneSince.IsZero()) {
			agent = &api.Fault{Code: api.CodeSilent,
				Hint:    "the next one answers within seconds; if it does not: banger vm restart " + v.Name + " (what was synced to its disk is kept)",
				Message: fmt.Sprintf("the agent in the guest of VM %s ended, and this session with it", where.Name)}
			said = time.After(agentWait)
		}
		select {
		case <-tick.C:
		case <-said:
			return agent
		case <-ctx.Done():
			return cmp.Or(agent, err)
		}
	}
}

// explainDial adds the VM's name, and a hint, to a dial that failed.
func (a *app) explainDial(ctx context.Context, c *api.Client, where api.Session, err error) error {
	var refused *session.Refusal
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &refused):
		f := &api.Fault{Code: api.Code(refused.Code), Message: err.Error(), Hint: hint.Of(err)}
		if !strings.HasPrefix(f.Message, "VM ") { // the supervisor names it mostly
			f.Message = "VM " + where.Name + ": " + f.Message
		}
		if f.Code == "" {
			f.Code = api.CodeInternal
		}
		return f
	case errors.Is(err, session.ErrBroken):
		return a.explainBreak(ctx, c, where, time.Now(), err)
	}
	return hint.Add(fmt.Errorf("VM %s: %w", where.Name, err), "banger vm health "+where.Name+" says how it is")
}
