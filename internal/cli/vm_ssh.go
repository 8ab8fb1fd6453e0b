package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) vmSSH() *cobra.Command {
	var tty ttyFlags
	cmd := &cobra.Command{
		Use:   "ssh [flags] VM [-- COMMAND [ARG…]]",
		Short: "Open a shell in a running VM",
		Long: `Open root's login shell in a running VM, on a terminal where there is one. The
VM keeps running when the shell ends.`,
		Example: `  banger vm ssh dev
  echo 'ls -l' | banger vm ssh dev`,
		ValidArgsFunction: a.refs,
		Args:              args(1, -1, "a VM"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := tty.check(); err != nil {
				return err
			}
			if len(args) > 1 && args[1] == "--" {
				args = append(args[:1:1], args[2:]...)
			}
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			err = a.session(cmd.Context(), c, args[0], sessionOptions{argv: args[1:], tty: tty})
			if _, ok := err.(statusError); err == nil || ok {
				fmt.Fprintf(a.stderr, "banger: %s keeps running: banger vm stop %s\n", args[0], args[0])
			}
			return err
		},
	}
	cmd.Flags().SetInterspersed(false)
	tty.add(cmd)
	return cmd
}
