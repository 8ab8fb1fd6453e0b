package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"banger/internal/api"
)

func (a *app) vmLogs() *cobra.Command {
	var (
		in  api.Logs
		raw bool
	)
	cmd := &cobra.Command{
		Use:   "logs [flags] VM",
		Short: "Print a VM's console",
		Long: `Print what a VM's kernel and init wrote to its serial console, the last 8 MiB.
On a terminal, control characters are shown as escapes.`,
		Example: `  banger vm logs dev
  banger vm logs -f dev`,
		Args:              args(1, 1, "a VM"),
		ValidArgsFunction: a.names(1),
		RunE: func(cmd *cobra.Command, refs []string) error {
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			return a.copyLogs(cmd.Context(), c, refs[0], in, raw)
		},
	}
	cmd.Flags().BoolVarP(&in.Follow, "follow", "f", false, "go on until the VM ends")
	cmd.Flags().BoolVar(&raw, "raw", false, "print control characters as they are")
	return cmd
}

// copyLogs copies a console to stdout, made fit for a terminal if stdout is one.
func (a *app) copyLogs(ctx context.Context, c *api.Client, ref string, in api.Logs, raw bool) error {
	if raw || !term.IsTerminal(int(a.stdout.Fd())) {
		return c.VMLogs(ctx, ref, in, a.stdout)
	}
	w := &cleanWriter{w: a.stdout}
	err := c.VMLogs(ctx, ref, in, w)
	return errors.Join(err, w.Flush())
}
