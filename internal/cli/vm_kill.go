package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"banger/internal/api"
	"banger/internal/vm"
)

// killSignals are what --signal takes.
var killSignals = []string{"KILL", "TERM", "INT", "HUP", "QUIT", "USR1", "USR2", "ABRT"}

func (a *app) vmKill() *cobra.Command {
	var signal string
	cmd := several(a, verb[api.VM]{
		cmd: &cobra.Command{
			Use:   "kill [flags] VM…",
			Short: "End VMs at once, as a power cut does",
			Long: `Send a signal to the VMMs of VMs. A VMM that lives 2 s later is sent SIGKILL.
The guests' services are not stopped; what a guest had synced to its disk is
kept. kill goes before every other command on the VM that is under way.`,
			Example: `  banger vm kill dev
  banger vm kill --signal TERM dev db`,
			ValidArgsFunction: a.names(0, vm.Starting, vm.Running, vm.Paused, vm.Stopping, vm.Deleting),
		},
		check: func() error {
			signal = strings.TrimPrefix(strings.ToUpper(signal), "SIG")
			if !slices.Contains(killSignals, signal) {
				return fieldError("signal", fmt.Errorf("%q is not one of %s", signal, strings.Join(killSignals, ", ")))
			}
			return nil
		},
		goesOn: true,
		do: func(ctx context.Context, c *api.Client, ref string, each api.Each) (api.VM, error) {
			return c.KillVM(ctx, ref, api.Kill{Signal: signal}, each)
		},
		name: vmName,
	})
	cmd.Flags().StringVarP(&signal, "signal", "s", "KILL", "`SIGNAL` for the VMM: "+strings.Join(killSignals, ", "))
	cmd.RegisterFlagCompletionFunc("signal", cobra.FixedCompletions(killSignals, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}
