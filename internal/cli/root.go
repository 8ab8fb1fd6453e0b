package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"banger/internal/api"
	"banger/internal/paths"
)

// app is what all commands share.
type app struct {
	stdin          *os.File
	stdout, stderr *os.File

	// interrupted ends when the user or the system asks the program to end.
	// Commands that answer signals themselves stop the default first.
	stopSignals context.CancelFunc
}

// Main runs one command line and returns the exit status.
func Main(args []string) int {
	a := &app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	// A closed stdout is an error of its own, told with a status, and not the
	// end of the program in the middle of cleaning up.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	a.stopSignals = stop
	root := a.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	a.report(err)
	return exitCode(ctx, err)
}

func (a *app) root() *cobra.Command {
	root := group("banger", "Run code that you don't trust in a microVM of its own", `banger boots a small virtual machine with its own kernel, runs a command or a
shell in it, and gives you the command's output and exit status. Nothing of
this host is mounted into the machine.`)
	root.Example = `  banger vm run -- uname -a            a command in a new VM
  banger vm run --rm                   a shell in a VM that goes with it
  banger vm create --name dev          a VM that stays
  banger vm exec dev -- make test      a command in it
  banger doctor                        what this host has and lacks`
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.CompletionOptions.HiddenDefaultCmd = false
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })

	vms := group("vm", "Virtual machines", "")
	vms.AddCommand(a.vmRun(), a.vmCreate(), a.vmStart(), a.vmStop(), a.vmList(), a.vmShow(), a.vmLogs(), a.vmExec(), a.vmSSH(), a.vmDelete())
	images := group("image", "Base images of VMs", "")
	images.AddCommand(a.imageList(), a.imageBuild())
	kernels := group("kernel", "Kernels of VMs", "")
	kernels.AddCommand(a.kernelList(), a.kernelPull())
	trash := group("trash", "Deleted VMs, kept for a while", "")
	trash.AddCommand(a.trashList(), a.trashEmpty())
	daemon := group("daemon", "The daemon bangerd, which starts by itself", "")
	daemon.AddCommand(a.daemonStatus(), a.daemonStop())
	// Short forms of the two commands that are typed most.
	run, ps := a.vmRun(), a.vmList()
	run.Short += " (vm run)"
	ps.Use, ps.Aliases, ps.Short = "ps", nil, ps.Short+" (vm list)"
	root.AddCommand(vms, images, kernels, trash, daemon, run, ps, a.doctor(), a.version())
	return root
}

// group is a command that only holds others.
func group(name, short, long string) *cobra.Command {
	return &cobra.Command{
		Use: name, Short: short, Long: long,
		SuggestionsMinimumDistance: 2,
		Args:                       cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			err := fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())
			if s := cmd.SuggestionsFor(args[0]); len(s) > 0 {
				return usagef("%w: did you mean %s?", err, strings.Join(s, " or "))
			}
			return usagef("%w: %s --help lists them", err, cmd.CommandPath())
		},
	}
}

// usageError is a command line that can't be meant: exit status 2.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// args checks the number of arguments; most below 0 is any number.
func args(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, got []string) error {
		if len(got) < least {
			return usagef("%s needs %s: see %s --help", cmd.CommandPath(), what, cmd.CommandPath())
		}
		if most >= 0 && len(got) > most {
			return usagef("%s takes no argument %q: see %s --help", cmd.CommandPath(), got[most], cmd.CommandPath())
		}
		return nil
	}
}

func dirs() (paths.Dirs, error) { return paths.Host() }

// connect returns a client, starting the daemon where none answers.
func (a *app) connect(ctx context.Context) (*api.Client, error) {
	d, err := dirs()
	if err != nil {
		return nil, err
	}
	return api.Connect(ctx, d.Socket())
}

// running returns a client of the daemon that runs, without starting one.
func (a *app) running() (*api.Client, error) {
	d, err := dirs()
	if err != nil {
		return nil, err
	}
	return api.NewClient(d.Socket()), nil
}

// refs completes the names of VMs.
func (a *app) refs(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	c, err := a.running()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var list []api.VM
	if err := c.Get(cmd.Context(), api.PathVMs, &list); err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for _, v := range list {
		out = append(out, v.Spec.Name+"\t"+string(v.State))
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// write prints what was asked for; what can't be written is an error.
func (a *app) write(format string, args ...any) error {
	_, err := fmt.Fprintf(a.stdout, format, args...)
	if errors.Is(err, syscall.EPIPE) {
		return err
	}
	if err != nil {
		return fmt.Errorf("write the output: %w", err)
	}
	return nil
}

// note prints a line for the user.
func (a *app) note(format string, args ...any) {
	fmt.Fprintf(a.stderr, "banger: "+format+"\n", args...)
}
