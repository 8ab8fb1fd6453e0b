package cli

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/spf13/cobra"

	"banger/internal/api"
	"banger/internal/process"
)

// stopLimit bounds the wait for a daemon's end.
const stopLimit = 30 * time.Second

func (a *app) daemonStop() *cobra.Command {
	return &cobra.Command{
		Use: "stop", Short: "Stop the daemon; VMs and sessions go on",
		Long: `Stop the daemon. VMs keep running under their supervisors, sessions go on, and
the next command starts a daemon that finds them.`,
		Example: "  banger daemon stop",
		Args:    args(0, 0, "nothing"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.running()
			if err != nil {
				return err
			}
			c = c.AnyVersion()
			ctx, cancel := context.WithTimeout(cmd.Context(), stopLimit)
			defer cancel()
			d, err := c.ShowDaemon(ctx)
			if errors.Is(err, api.ErrNoDaemon) {
				a.note("bangerd does not run")
				return nil
			}
			if err != nil {
				return err
			}
			// Take hold of the process before it is asked to end: afterwards its pid may
			// belong to another one.
			h, err := hold(d.PID)
			if err != nil {
				return ended(err)
			}
			defer h.Close()
			if err := c.StopDaemon(ctx); err != nil {
				return err
			}
			return h.Wait(ctx)
		},
	}
}

// hold takes hold of a process of this user that is no child.
func hold(pid int) (*process.Handle, error) {
	p, err := process.Of(pid)
	if err != nil {
		return nil, err
	}
	return process.Open(p)
}

// ended drops the error that says that there is nothing to wait for.
func ended(err error) error {
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}
