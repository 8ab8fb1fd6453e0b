package cli

import (
	"context"

	"github.com/spf13/cobra"

	"banger/internal/api"
	"banger/internal/vm"
)

func (a *app) vmRestart() *cobra.Command {
	var (
		f   startFlags
		req api.Start
	)
	cmd := several(a, verb[api.VM]{
		cmd: &cobra.Command{
			Use:   "restart [flags] VM…",
			Short: "Stop VMs and start them again",
			Long: `Stop VMs as vm stop does, then start them again. A VM that does not run is only
started.`,
			Example: `  banger vm restart dev
  banger vm restart --wait=system dev db`,
			ValidArgsFunction: a.names(0, vm.Running, vm.Paused, vm.Stopped),
		},
		check: func() (err error) {
			req, err = f.request()
			return err
		},
		do: func(ctx context.Context, c *api.Client, ref string, each api.Each) (api.VM, error) {
			return c.RestartVM(ctx, ref, req, each)
		},
		name: vmName,
	})
	f.add(cmd)
	return cmd
}
