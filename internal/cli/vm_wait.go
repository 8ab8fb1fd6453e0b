package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"banger/internal/api"
	"banger/internal/vm"
)

// waitStates are the states that vm wait takes.
var waitStates = []string{string(vm.Created), string(vm.Starting), string(vm.Running), string(vm.Paused),
	string(vm.Stopping), string(vm.Stopped), string(vm.Error), string(vm.Deleting), api.StateGone}

func (a *app) vmWait() *cobra.Command {
	var (
		timeout       text
		quiet, asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "wait [flags] VM STATE",
		Short: "Wait until a VM has a state",
		Long: `Wait until a VM has a state: ` + strings.Join(waitStates[:len(waitStates)-1], ", ") + `,
or gone, which is the state of a VM that does not exist. A VM that is deleted
before it has the state is an error. The exit status is 125 if the time is over.`,
		Example: `  banger vm wait dev stopped
  banger vm wait dev running --timeout 90s
  banger vm wait dev gone`,
		Args: args(2, 2, "a VM and a state"),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return waitStates, cobra.ShellCompDirectiveNoFileComp
			}
			return a.names(1)(cmd, args, word)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, state := args[0], args[1]
			if !slices.Contains(waitStates, state) {
				return usagef("state %q is not one of %s", state, strings.Join(waitStates, ", "))
			}
			ctx, cancel := cmd.Context(), func() {}
			if cmd.Flags().Changed("timeout") {
				d, err := parseDuration(string(timeout))
				if err != nil {
					return fieldError("timeout", err)
				}
				ctx, cancel = context.WithTimeout(ctx, d)
			}
			defer cancel()
			c, err := a.connect(ctx)
			if err != nil {
				return waitOver(err, args, timeout)
			}
			show := a.display(quiet, false)
			v, err := c.WaitVM(ctx, ref, api.WaitFor{State: state}, each(show))
			show.close()
			if state == api.StateGone && isCode(err, api.CodeNotFound) {
				return nil
			}
			if err != nil {
				return waitOver(err, args, timeout)
			}
			if asJSON {
				return a.json(v)
			}
			return nil
		},
	}
	cmd.Flags().Var(&timeout, "timeout", "give up after this `TIME`, as 90s or 5m (default: never)")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "no progress and no notices")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the VM as JSON")
	cmd.RegisterFlagCompletionFunc("timeout", nothing)
	return cmd
}

// waitOver says so if the time is over.
func waitOver(err error, args []string, timeout text) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("VM %q was not %s in %s", args[0], args[1], string(timeout))
	}
	return err
}
