package cli

import (
	"context"

	"github.com/spf13/cobra"

	"banger/internal/api"
	"banger/internal/vm"
)

func (a *app) vmStop() *cobra.Command {
	return several(a, verb[api.VM]{
		cmd: &cobra.Command{
			Use:   "stop [flags] VM…",
			Short: "Stop VMs, their services first",
			Long: `Ask VMs to stop their services, sync their disks and end, and wait for the end.
A VM that takes longer than 10 s, or 30 s if it is emulated or works at it, is ended by force,
and a line says so. The stop goes on if this command is interrupted.`,
			Example: `  banger vm stop dev
  banger vm stop $(banger vm list -q)`,
			ValidArgsFunction: a.names(0, vm.Starting, vm.Running, vm.Paused, vm.Stopping),
		},
		goesOn: true,
		do: func(ctx context.Context, c *api.Client, ref string, each api.Each) (api.VM, error) {
			return c.StopVM(ctx, ref, api.Stop{}, each)
		},
		name: vmName,
	})
}
