package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/signal"
	"time"

	"github.com/spf13/cobra"

	"banger/internal/api"
)

// cleanupLimit bounds what a command still does when it was interrupted.
const cleanupLimit = 90 * time.Second

func (a *app) vmRun() *cobra.Command {
	var (
		f          vmFlags
		tty        ttyFlags
		rm, detach bool
	)
	cmd := &cobra.Command{
		Use:   "run [flags] [-- COMMAND [ARG…]]",
		Short: "Run a command, or a shell, in a new VM",
		Long: `Boot a new VM and run a command in it, or a shell where none is given. The
command's exit status is banger's: 128+n after signal n, 127 where it is not
found, 126 where it can't be executed; 125 where banger itself failed.

The VM stays when the command ends, unless --rm is given.`,
		Example: `  banger vm run -- uname -a
  banger vm run --rm -- sh -c 'exit 42'; echo $?
  banger vm run --rm --memory 4G --vcpu 2
  tar c . | banger vm run --rm -- tar tv
  banger vm run -d --name dev`,
		RunE: func(cmd *cobra.Command, args []string) error {
			dash := cmd.ArgsLenAtDash()
			if dash > 0 || (dash < 0 && len(args) > 0) {
				return usagef("argument %q: a command goes after --, and repositories can't be copied in by this version", args[0])
			}
			switch {
			case rm && detach:
				return usagef("--rm and --detach exclude each other: nothing would be left to enter")
			case detach && len(args) > 0:
				return usagef("--detach runs no command: banger vm run --detach, then banger vm exec NAME -- %s", args[0])
			}
			if err := tty.check(); err != nil {
				return err
			}
			spec, err := f.spec(cmd)
			if err != nil {
				return err
			}
			show := a.display(f.quiet, f.json)
			err = a.run(cmd.Context(), api.Create{Spec: spec, Start: true, Remove: rm}, runOptions{
				argv: args, tty: tty, detach: detach, show: show,
			})
			show.close()
			var status statusError
			if f.json && err != nil && !errors.As(err, &status) {
				show.event("", api.Event{Fault: asFault(err)})
				err = fmt.Errorf("%w: %w", errReported, err)
			}
			return err
		},
	}
	cmd.ValidArgsFunction = nothing
	f.add(a, cmd)
	tty.add(cmd)
	cmd.Flags().BoolVar(&f.json, "json", false, "progress as JSON lines on stderr")
	cmd.Flags().BoolVar(&rm, "rm", false, "delete the VM when the command or the shell ends, whatever happens")
	cmd.Flags().BoolVarP(&detach, "detach", "d", false, "leave the VM running and print its name")
	return cmd
}

type runOptions struct {
	argv   []string
	tty    ttyFlags
	detach bool
	show   display
}

func (a *app) run(ctx context.Context, req api.Create, o runOptions) error {
	c, err := a.connect(ctx)
	if err != nil {
		return err
	}
	var v api.VM
	err = c.Stream(ctx, http.MethodPost, api.PathVMs, req, &v, each(o.show))
	o.show.close()
	if err != nil {
		return err // the daemon has taken the VM back, or kept it and said so
	}
	name := v.Spec.Name
	if o.detach {
		return a.write("%s\n", name)
	}
	where, err := a.enter(ctx, c, string(v.ID))
	if err == nil {
		err = a.session(ctx, c, where, sessionOptions{argv: o.argv, tty: o.tty})
	}
	if !req.Remove {
		o.show.event("", api.Event{Notice: fmt.Sprintf("%s keeps running: banger vm exec %s -- COMMAND, banger vm stop %s, banger vm delete -f %s", name, name, name, name)})
		return err
	}
	if derr := a.deleteAfter(ctx, c, string(v.ID)); derr != nil {
		if _, quiet := o.show.(quietDisplay); quiet { // it is no progress
			o.show = &plainDisplay{a: a}
		}
		o.show.event("", api.Event{Notice: derr.Error()})
	}
	return err // the command's status, whatever became of the VM
}

// deleteAfter deletes a --rm VM. The daemon would do it anyway when this
// process ends; waiting for it leaves nothing behind when the prompt is back.
// A signal ends the wait.
func (a *app) deleteAfter(ctx context.Context, c *api.Client, id string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupLimit)
	defer cancel()
	ctx, stop := signal.NotifyContext(ctx, endSignals...)
	defer stop()
	drop := func(c *api.Client) error {
		return c.Stream(ctx, http.MethodDelete, api.Path(api.PathVM, id)+"?force=true", nil, nil, func(api.Event) {})
	}
	err := drop(c)
	if errors.Is(err, api.ErrNoDaemon) {
		// It was killed under the session: a new one finds its VMs.
		if c, err = a.connect(ctx); err == nil {
			err = drop(c)
		}
	}
	var f *api.Fault
	switch {
	case err == nil, errors.As(err, &f) && f.Code == api.CodeNotFound:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("VM %s is not gone yet: bangerd goes on deleting it", id)
	}
	return fmt.Errorf("delete VM %s: %w", id, err)
}
