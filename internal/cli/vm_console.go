package cli

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"banger/internal/api"
	"banger/internal/hint"
	"banger/internal/session"
	"banger/internal/vm"
)

// consoleEscape is Ctrl-], telnet's escape: no other key of a terminal sends it.
const consoleEscape = 0x1d

func (a *app) vmConsole() *cobra.Command {
	var raw bool
	cmd := &cobra.Command{
		Use:   "console [flags] VM",
		Short: "Use a VM's serial console",
		Long: `Show what the kernel and the services of a VM that runs write to its serial
console from now on, until the VM ends. Ctrl-] leaves the console; the VM goes
on.

On a terminal, and if the VM runs, a shell of root is started on the console, and
ends with this command; this command ends with the shell. What is typed goes to the
console, even if no shell can be started there: if the agent is gone, or another
program has the console. What is shown is not changed then: trust the VM as with
banger vm ssh. banger vm logs -f shows the console without a shell.`,
		Example: `  banger vm console dev
  banger vm console --raw dev > boot.txt`,
		Args:              args(1, 1, "a VM"),
		ValidArgsFunction: a.names(1, vm.Starting, vm.Running, vm.Paused, vm.Stopping),
		RunE: func(cmd *cobra.Command, refs []string) error {
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			v, err := c.ShowVM(cmd.Context(), refs[0])
			if err != nil {
				return err
			}
			if !v.State.Live() {
				return hint.Add(&api.Fault{Code: api.CodeState, Message: "VM " + v.Name + " is " + string(v.State) + ": its console is silent"},
					"banger vm start "+v.Name+", or banger vm logs "+v.Name+" for what it has written")
			}
			return a.console(cmd.Context(), c, v, raw)
		},
	}
	cmd.Flags().BoolVar(&raw, "raw", false, "print control characters as they are, if keys are not sent")
	return cmd
}

// console is the console of v until v ends, ctx ends, or the user types the escape.
func (a *app) console(ctx context.Context, c *api.Client, v api.VM, raw bool) error {
	if !term.IsTerminal(int(a.stdin.Fd())) || !term.IsTerminal(int(a.stdout.Fd())) {
		return a.watchConsole(ctx, c, v, raw)
	}
	where, err := c.VMSession(ctx, string(v.ID))
	if err != nil { // it has none while it starts and stops
		return a.watchConsole(ctx, c, v, raw)
	}
	line, err := session.DialConsole(ctx, where.Socket)
	if err != nil {
		a.note("VM %s takes no keys: %v", v.Name, err)
		return a.watchConsole(ctx, c, v, raw)
	}
	return a.useConsole(ctx, where, line)
}

// watchConsole copies the console of v without typing there.
func (a *app) watchConsole(ctx context.Context, c *api.Client, v api.VM, raw bool) error {
	ctx, leave := context.WithCancelCause(ctx)
	defer leave(nil)
	if term.IsTerminal(int(a.stdin.Fd())) {
		a.note("the console of %s: Ctrl-] leaves it; keys are not sent to the VM", v.Name)
		restore, err := withoutEcho(a.stdin)
		if err != nil {
			return err
		}
		a.intr.restore.Store(&restore)
		defer restore()
		go func() { // ends with the escape, or the program
			if readEscape(a.stdin) {
				leave(errLeft)
			}
		}()
	}
	err := a.copyLogs(ctx, c, string(v.ID), api.Logs{Follow: true, New: true}, raw)
	if errors.Is(context.Cause(ctx), errLeft) {
		return nil
	}
	return err
}

// errLeft says that the user typed the console's escape.
var errLeft = errors.New("left")

// readEscape reads keys until the escape, and reports whether it came.
func readEscape(in io.Reader) bool {
	b := make([]byte, 64)
	for {
		n, err := in.Read(b)
		for _, k := range b[:n] {
			if k == consoleEscape {
				return true
			}
		}
		if err != nil {
			return false
		}
	}
}

// withoutEcho lets a terminal give each key at once and not show it. Ctrl-C
// still asks this program to end, and output is as usual.
func withoutEcho(f *os.File) (restore func(), err error) {
	fd := int(f.Fd())
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, err
	}
	t := *before
	t.Lflag &^= unix.ECHO | unix.ICANON
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &t); err != nil {
		return nil, err
	}
	return func() { unix.IoctlSetTermios(fd, unix.TCSETS, before) }, nil
}
