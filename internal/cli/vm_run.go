package cli

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"time"

	"github.com/spf13/cobra"

	"banger/internal/api"
)

const (
	// deleteLimit bounds the wait for the end of a --rm VM.
	deleteLimit = 90 * time.Second
	// interruptedLimit bounds it after a signal, so that the prompt comes back.
	interruptedLimit = 2 * time.Second
)

// Titles of vm run's flags.
const (
	titleCommand    = "Flags of the command"
	titleVM         = "Flags of the VM"
	titleRepository = "Flags of the repository"
)

func (a *app) vmRun() *cobra.Command {
	var (
		f          vmFlags
		w          workspaceFlags
		how        commandFlags
		rm, detach bool
	)
	cmd := &cobra.Command{
		Use:   "run [flags] [REPO] [-- COMMAND [ARG…]]",
		Short: "Run a command, or a shell, in a new VM",
		Long: `Boot a new VM and run a command in it, or a shell if none is given. The exit
status is the command's: 128+n after signal n, 127 if the command is not found,
126 if it can't be executed. It is 125 if banger itself failed.

With REPO, a path in a git repository, the repository is copied into the VM first,
and the command runs there: the files that git tracks, as they are in the work tree.
What the command changes stays in the VM until you take it out, as with
banger vm workspace export.

The VM stays when the command ends, unless --rm is given.`,
		Example: `  banger vm run -- uname -a
  banger vm run . -- make test
  banger vm run --rm -- sh -c 'exit 42'; echo $?
  banger vm run --rm --memory 4G --vcpu 2
  banger vm run --rm -e CI=1 -e GITHUB_TOKEN -- env
  tar c . | banger vm run --rm -- tar tv
  banger vm run -d --name dev --ttl 8h`,
		RunE: func(cmd *cobra.Command, args []string) error {
			repo, args, err := splitRun(args, cmd.ArgsLenAtDash())
			if err != nil {
				return err
			}
			switch {
			case rm && detach:
				return usagef("--rm and --detach exclude each other: nothing would be left to enter")
			case detach && len(args) > 0:
				return usagef("--detach runs no command: banger vm run --detach, then banger vm exec NAME -- %s", args[0])
			}
			if name := firstTyped(cmd, titleCommand); detach && name != "" {
				return usagef("--detach runs no command: --%s goes to banger vm exec", name)
			}
			if err := errors.Join(how.check(), w.check()); err != nil {
				return err
			}
			req, err := f.create(a, cmd)
			if err != nil {
				return err
			}
			req.Remove = rm
			show := a.display(f.quiet, f.json)
			err = a.run(cmd.Context(), req, runOptions{argv: args, how: &how, detach: detach, show: show, repo: repo, workspace: &w})
			show.close()
			var status statusError
			if f.json && err != nil && !errors.As(err, &status) {
				show.event("", api.Event{Fault: asFault(err)})
				err = fmt.Errorf("%w: %w", errReported, err)
			}
			return err
		},
	}
	cmd.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return nil, cobra.ShellCompDirectiveFilterDirs
	}
	grouped(cmd, titleVM, func() { f.add(a, cmd) })
	grouped(cmd, titleRepository, func() { w.add(cmd) })
	grouped(cmd, titleCommand, func() { how.add(cmd) })
	cmd.Flags().Lookup("quiet").Annotations = nil // it is about progress
	cmd.SetUsageFunc(usage(titleCommand, titleVM, titleNetwork, titleRepository))
	cmd.Flags().BoolVar(&f.json, "json", false, "progress as JSON lines on stderr")
	cmd.Flags().BoolVar(&rm, "rm", false, "delete the VM when the command or the shell ends, whatever happens")
	cmd.Flags().BoolVarP(&detach, "detach", "d", false, "leave the VM running and print its name")
	return cmd
}

// splitRun splits the arguments of run: the repository, and the command after --.
func splitRun(args []string, dash int) (repo string, argv []string, err error) {
	before := args
	if dash >= 0 {
		before, argv = args[:dash], args[dash:]
	}
	switch {
	case len(before) > 1:
		return "", nil, usagef("argument %q: a command goes after --, and there is one repository at most", before[1])
	case len(before) == 1 && before[0] == "":
		return "", nil, usagef("the repository's path is empty")
	case len(before) == 1:
		repo = before[0]
	}
	return repo, argv, nil
}

type runOptions struct {
	argv      []string
	how       *commandFlags
	detach    bool
	show      display
	repo      string // "" for none
	workspace *workspaceFlags
}

func (a *app) run(ctx context.Context, req api.Create, o runOptions) error {
	if o.repo != "" { // before anything is started for it
		if _, err := o.workspace.open(ctx, o.repo); err != nil {
			return err
		}
	}
	c, err := a.connect(ctx)
	if err != nil {
		return err
	}
	var in *copyIn
	if o.repo != "" {
		staging, err := stagingDir()
		if err != nil {
			return err
		}
		if in, err = a.openCopy(ctx, o.workspace, o.repo, staging, o.show); err != nil {
			return err
		}
		defer in.close()
		in.say()
		if err := in.ask(ctx); err != nil {
			return err
		}
		defer in.packAhead(ctx)() // while the guest boots
		req.Copy = req.Wait == api.WaitAgent
	}
	v, err := withConfig(req, func(req api.Create) (api.VM, error) { return c.CreateVM(ctx, req, each(o.show)) })
	if err != nil {
		o.show.close()
		return err // the daemon has taken the VM back, or kept it and said so
	}
	name := v.Name
	var where api.Session
	if in != nil || !o.detach {
		where, err = sessionOf(ctx, c, v)
	}
	if err == nil && in != nil {
		if v, err = in.into(ctx, c, where); err == nil {
			where, err = sessionOf(ctx, c, v)
		}
	}
	o.show.close()
	if o.detach && err == nil {
		return a.write("%s\n", clean(name))
	}
	if err == nil {
		_, quiet := o.show.(quietDisplay)
		err = a.session(ctx, c, where, sessionOptions{argv: o.argv, how: o.how, quiet: quiet})
		if in != nil {
			a.tellWork(ctx, c, v, req.Remove, o.show)
		}
	}
	if !req.Remove {
		o.show.event("", api.Event{Notice: fmt.Sprintf("%s keeps running: banger vm exec %s -- COMMAND, banger vm stop %s, banger vm delete -f %s", name, name, name, name)})
		return err
	}
	if derr := a.deleteAfter(ctx, c, string(v.ID), err); derr != nil {
		if _, quiet := o.show.(quietDisplay); quiet { // an error is no progress
			o.show = &plainDisplay{a: a}
		}
		o.show.event("", api.Event{Notice: derr.Error()})
	}
	return err // the command's status, whatever became of the VM
}

// sessionOf says where v's sessions go. The answer to a create has it already.
func sessionOf(ctx context.Context, c *api.Client, v api.VM) (api.Session, error) {
	if v.Session != nil {
		return *v.Session, nil
	}
	return c.VMSession(ctx, string(v.ID))
}

// deleteAfter deletes a --rm VM. The daemon would do it anyway when this
// process ends, but waiting leaves nothing behind when the prompt is back. A
// signal ends the wait; sessionErr is how the session ended.
func (a *app) deleteAfter(ctx context.Context, c *api.Client, id string, sessionErr error) error {
	limit := deleteLimit
	if errors.Is(sessionErr, context.Canceled) {
		limit = interruptedLimit
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	if len(a.ends) > 0 { // for none, NotifyContext would take all signals
		var stop func()
		ctx, stop = signal.NotifyContext(ctx, a.ends...)
		defer stop()
	}
	defer a.intr.answer()()
	drop := func(c *api.Client) error {
		_, err := c.DeleteVM(ctx, id, api.Delete{Force: true}, nil)
		return err
	}
	err := drop(c)
	if errors.Is(err, api.ErrNoDaemon) {
		// The daemon was killed under the session: a new one finds its VMs.
		if c, err = a.connect(ctx); err == nil {
			err = drop(c)
		}
	}
	switch {
	case err == nil, isCode(err, api.CodeNotFound):
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("VM %s is not gone yet: bangerd goes on deleting it", id)
	}
	return fmt.Errorf("delete VM %s: %w", id, err)
}
