package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"banger/internal/api"
	"banger/internal/autostart"
	"banger/internal/paths"
)

// app is what all commands share.
type app struct {
	stdin, stdout, stderr *os.File
	environ               []string // as os.Environ
	// cpus and memMiB are the host's, for a VM's defaults.
	cpus   int
	memMiB int64
	// ends are the signals that ask this program to end, without those that were
	// ignored when it began.
	ends []os.Signal
	intr interruption
}

// Main runs one command line and returns the exit status.
func Main(args []string) int {
	a := &app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, environ: os.Environ(), cpus: runtime.NumCPU(), memMiB: hostMemMiB()}
	a.ends = endSignals() // before any other use of package signal
	ignoreQuit()
	// A write to a closed stdout is then an error with a status of its own, and
	// does not end the program in the middle of its clean-up.
	signal.Ignore(syscall.SIGPIPE)
	a.intr.limit = interruptLimit
	a.intr.exit = func(status int) {
		a.note("interrupted")
		os.Exit(status)
	}
	ctx, stop := a.intr.context(context.Background(), a.ends)
	defer stop()
	root := a.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	a.report(err)
	return exitCode(ctx, err)
}

// hostMemMiB is the host's memory, or 0 if it can't be told.
func hostMemMiB() int64 {
	var si unix.Sysinfo_t
	if unix.Sysinfo(&si) != nil {
		return 0
	}
	return int64(uint64(si.Totalram) * uint64(si.Unit) >> 20)
}

// root is the tree of commands.
func (a *app) root() *cobra.Command {
	root := group("banger", "Run code that you don't trust in a microVM of its own", `banger boots a small virtual machine with its own kernel, runs a command or a
shell in it, and gives you the command's output and exit status. Nothing of
this host is mounted into the machine.`,
		`  banger vm run -- uname -a            a command in a new VM
  banger vm run --rm                   a shell in a VM that goes with it
  banger vm create --name dev          a VM that stays
  banger vm exec dev -- make test      a command in it
  banger doctor                        what this host has and lacks`)
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if cmd.HasSubCommands() && cmd.Flags().NArg() > 0 {
			return unknownCommand(cmd, cmd.Flags().Arg(0)) // whose flag it may be
		}
		return usagef("%w: see %s --help", err, cmd.CommandPath())
	})

	vms := group("vm", "Make, enter, look at and end VMs", "", `  banger vm create --name dev
  banger vm exec dev -- uname -a
  banger vm list`)
	vms.AddCommand(a.vmRun(), a.vmCreate(), a.vmStart(), a.vmStop(), a.vmRestart(), a.vmKill(), a.vmSet(), a.vmDelete(), a.vmPrune(),
		a.vmList(), a.vmShow(), a.vmHealth(), a.vmStats(), a.vmWait(), a.vmLogs(), a.vmConsole(), a.vmExec(), a.vmSSH(), a.vmCp(), a.vmNetwork(), a.vmPorts(), a.vmForward())
	workspaces := group("workspace", "Repositories in VMs, and what comes out of them", "", `  banger vm workspace prepare dev ~/src/project
  banger vm workspace export dev | git apply`)
	workspaces.AddCommand(a.vmWorkspacePrepare(), a.vmWorkspaceExport(), a.vmWorkspaceDiff(), a.vmWorkspaceFetch(), a.vmWorkspaceApply())
	vms.AddCommand(workspaces)
	images := group("image", "Base images of VMs", "", "  banger image list\n  banger image build --name web --package nginx")
	images.AddCommand(a.imageList(), a.imageShow(), a.imageBuild(), a.imageDelete())
	kernels := group("kernel", "Kernels of VMs", "", "  banger kernel list\n  banger kernel pull")
	kernels.AddCommand(a.kernelList(), a.kernelPull())
	trash := group("trash", "Deleted VMs, kept for a while", "", "  banger trash list\n  banger trash restore dev\n  banger trash empty")
	trash.AddCommand(a.trashList(), a.trashRestore(), a.trashEmpty())
	saved := group("saved", "Work that came out of VMs, kept for a while", "", "  banger saved list\n  banger saved show dev\n  banger saved drop dev")
	saved.AddCommand(a.savedList(), a.savedShow(), a.savedDrop())
	daemon := group("daemon", "The daemon bangerd, which starts by itself", "", "  banger daemon status\n  banger daemon stop")
	daemon.AddCommand(a.daemonStatus(), a.daemonStop())
	// Short forms of the commands that are typed most.
	run, ps := a.vmRun(), a.vmList()
	run.Short += " (vm run)"
	ps.Use, ps.Aliases, ps.Short = "ps", nil, ps.Short+" (vm list)"
	diff, fetch, apply := a.vmWorkspaceDiff(), a.vmWorkspaceFetch(), a.vmWorkspaceApply()
	for _, c := range []*cobra.Command{diff, fetch, apply} {
		c.Short += " (vm workspace " + c.Name() + ")"
	}
	for _, short := range []*cobra.Command{run, ps, diff, fetch, apply} {
		short.Example = strings.ReplaceAll(short.Example, "banger vm run", "banger run")
		short.Example = strings.ReplaceAll(short.Example, "banger vm list", "banger ps")
		short.Example = strings.ReplaceAll(short.Example, "banger vm workspace ", "banger ")
	}
	root.AddCommand(vms, saved, images, kernels, trash, daemon, run, ps, diff, fetch, apply, a.sshConfig(), a.sshProxy(), a.doctor(), a.version())
	addHelp(root)
	addCompletion(root)
	return root
}

// group is a command that only holds others.
func group(name, short, long, example string) *cobra.Command {
	return &cobra.Command{
		Use: name, Short: short, Long: long, Example: example,
		SuggestionsMinimumDistance: 2,
		Args:                       cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknownCommand(cmd, args[0])
		},
	}
}

func unknownCommand(cmd *cobra.Command, name string) error {
	err := fmt.Errorf("unknown command %q for %q", name, cmd.CommandPath())
	for _, group := range cmd.Root().Commands() {
		for _, c := range group.Commands() {
			if c.Name() == name && group != cmd && group.Name() != "completion" {
				return usagef("%w: did you mean %s?", err, c.CommandPath())
			}
		}
	}
	if s := cmd.SuggestionsFor(name); len(s) > 0 {
		return usagef("%w: did you mean %s?", err, strings.Join(s, " or "))
	}
	return usagef("%w: %s --help lists them", err, cmd.CommandPath())
}

// addHelp replaces cobra's help command, which exits with 0 for a command that
// there is not.
func addHelp(root *cobra.Command) {
	root.SetHelpCommand(&cobra.Command{
		Use: "help [COMMAND…]", Short: "Help about any command",
		Example: "  banger help vm run",
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) (out []string, _ cobra.ShellCompDirective) {
			if cmd, rest, err := root.Find(args); err == nil && len(rest) == 0 {
				for _, sub := range cmd.Commands() {
					if sub.IsAvailableCommand() {
						out = append(out, sub.Name()+"\t"+sub.Short)
					}
				}
			}
			return out, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err != nil {
				return &usageError{err}
			}
			if len(rest) > 0 {
				return unknownCommand(cmd, rest[0])
			}
			cmd.InitDefaultHelpFlag()
			return cmd.Help()
		},
	})
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

// connect returns a client, and starts the daemon if none answers.
func (a *app) connect(ctx context.Context) (*api.Client, error) {
	d, err := paths.Host()
	if err != nil {
		return nil, err
	}
	return autostart.Connect(ctx, autostart.Options{Dirs: d, Slow: func() {
		a.note("starting bangerd, which takes a while: it may still be finding its VMs")
	}})
}

// running returns a client of the daemon that runs, without starting one.
func (a *app) running() (*api.Client, error) {
	d, err := paths.Host()
	if err != nil {
		return nil, err
	}
	if err := autostart.CheckOwner(d.State); err != nil {
		return nil, err
	}
	if l, held := autostart.ReadLock(d.Lock()); held && l.Socket != "" {
		return api.NewClient(l.Socket), nil
	}
	return api.NewClient(d.Socket()), nil
}

// write prints what was asked for; what can't be written is an error.
func (a *app) write(format string, args ...any) error {
	_, err := fmt.Fprintf(a.stdout, format, args...)
	if err != nil && !errors.Is(err, syscall.EPIPE) {
		return fmt.Errorf("write the output: %w", err)
	}
	return err
}

// note prints a line for the user on stderr. Whatever is in it is made fit for
// a terminal; lines after the first are indented.
func (a *app) note(format string, args ...any) {
	lines := strings.Split(strings.TrimRight(fmt.Sprintf(format, args...), "\n"), "\n")
	for i, l := range lines {
		lines[i] = clean(l)
	}
	fmt.Fprintf(a.stderr, "banger: %s\n", strings.Join(lines, "\n  "))
}
