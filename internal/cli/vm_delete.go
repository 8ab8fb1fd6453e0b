package cli

import (
	"context"
	"net/http"

	"github.com/spf13/cobra"

	"banger/internal/api"
)

func (a *app) vmDelete() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:     "delete VM…",
		Aliases: []string{"rm"},
		Short:   "Delete VMs",
		Long: `Delete VMs. Their disks are kept in the trash for a while: the newest, up to
10 GiB and 7 days.`,
		Example: `  banger vm delete dev
  banger vm delete -f dev      also where it runs
  banger trash empty           free the disks at once`,
	}
	a.eachRef(cmd, func(ctx context.Context, c *api.Client, ref string, show display) (v api.VM, err error) {
		path := api.Path(api.PathVM, ref)
		if force {
			path += "?force=true"
		}
		return v, c.Stream(ctx, http.MethodDelete, path, nil, &v, show.event)
	})
	cmd.Flags().BoolVarP(&force, "force", "f", false, "stop a running VM first, without its services")
	return cmd
}
