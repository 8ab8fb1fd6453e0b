package cli

import (
	"context"
	"net/http"

	"github.com/spf13/cobra"

	"banger/internal/api"
	"banger/internal/vm"
)

func (a *app) vmStop() *cobra.Command {
	return a.command(verb{
		cmd: &cobra.Command{
			Use:   "stop VM…",
			Short: "Stop VMs, their services first",
			Long: `Ask VMs to stop their services, sync their disks and end, and wait for it: 10 s,
30 s where they are emulated; then they are ended by force, and that is said.`,
			Example: `  banger vm stop dev
  banger vm stop $(banger vm list -q)`,
			ValidArgsFunction: a.names(0, vm.Starting, vm.Running, vm.Paused, vm.Stopping),
		},
		do: func(ctx context.Context, c *api.Client, ref string, each func(api.Event)) (v api.VM, err error) {
			return v, c.Stream(ctx, http.MethodPost, api.Path(api.PathStop, ref), nil, &v, each)
		},
	})
}
