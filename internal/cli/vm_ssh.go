package cli

import (
	"github.com/spf13/cobra"

	"banger/internal/vm"
)

func (a *app) vmSSH() *cobra.Command {
	var how commandFlags
	cmd := &cobra.Command{
		Use:   "ssh [flags] VM [-- COMMAND [ARG…]]",
		Short: "Open a shell in a running VM",
		Long: `Open root's login shell in a running VM, or another user's, on a terminal if
there is one. The VM keeps running when the shell ends.`,
		Example: `  banger vm ssh dev
  echo 'ls -l' | banger vm ssh dev
  banger vm ssh -u alice dev`,
		ValidArgsFunction: a.names(1, vm.Running),
		Args:              args(1, -1, "a VM"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := how.check(); err != nil {
				return err
			}
			ref, argv, err := guestCommand(args)
			if err != nil {
				return err
			}
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			where, err := c.VMSession(cmd.Context(), ref)
			if err != nil {
				return err
			}
			err = a.session(cmd.Context(), c, where, sessionOptions{argv: argv, how: &how})
			if _, ok := err.(statusError); err == nil || ok {
				a.note("%s keeps running: banger vm stop %s", where.Name, where.Name)
			}
			return err
		},
	}
	cmd.Flags().SetInterspersed(false)
	how.add(cmd)
	return cmd
}
