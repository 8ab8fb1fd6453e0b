package cli

import (
	"context"
	"net/http"

	"github.com/spf13/cobra"

	"banger/internal/api"
	"banger/internal/vm"
)

func (a *app) vmStart() *cobra.Command {
	return a.command(verb{
		cmd: &cobra.Command{
			Use:   "start VM…",
			Short: "Start VMs",
			Long:  `Start VMs and wait until they can be entered. One that runs already is left as it is.`,
			Example: `  banger vm start dev
  banger vm start dev db 3fa4`,
			ValidArgsFunction: a.names(0, vm.Created, vm.Stopped, vm.Error),
		},
		do: func(ctx context.Context, c *api.Client, ref string, each func(api.Event)) (v api.VM, err error) {
			return v, c.Stream(ctx, http.MethodPost, api.Path(api.PathStart, ref), nil, &v, each)
		},
	})
}
