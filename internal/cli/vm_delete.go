package cli

import (
	"context"
	"net/http"

	"github.com/spf13/cobra"

	"banger/internal/api"
)

func (a *app) vmDelete() *cobra.Command {
	var force bool
	cmd := a.command(verb{
		cmd: &cobra.Command{
			Use:     "delete VM…",
			Aliases: []string{"rm"},
			Short:   "Delete VMs",
			Long: `Delete VMs. The disk of one that ever ran is kept in the trash for a while: the
newest, up to 10 GiB and 7 days.`,
			Example: `  banger vm delete dev
  banger vm delete -f dev      also where it runs
  banger trash empty           free the disks at once`,
			ValidArgsFunction: a.names(0),
		},
		do: func(ctx context.Context, c *api.Client, ref string, each func(api.Event)) (v api.VM, err error) {
			path := api.Path(api.PathVM, ref)
			if force {
				path += "?force=true"
			}
			return v, c.Stream(ctx, http.MethodDelete, path, nil, &v, each)
		},
	})
	cmd.Flags().BoolVarP(&force, "force", "f", false, "end a running VM first, without stopping its services")
	return cmd
}
