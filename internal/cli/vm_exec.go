package cli

import (
	"github.com/spf13/cobra"
)

func (a *app) vmExec() *cobra.Command {
	var tty ttyFlags
	cmd := &cobra.Command{
		Use:   "exec [flags] VM -- COMMAND [ARG…]",
		Short: "Run a command in a running VM",
		Long: `Run a command in root's home of a running VM. Its words arrive byte for byte: no
shell is in between. Its exit status is banger's, as with vm run.`,
		Example: `  banger vm exec dev -- ls -l /
  banger vm exec dev -- sh -c 'echo "$HOME"'
  banger vm exec dev -- tar c /etc > etc.tar`,
		ValidArgsFunction: a.refs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := tty.check(); err != nil {
				return err
			}
			if len(args) > 1 && args[1] == "--" {
				args = append(args[:1:1], args[2:]...)
			}
			if len(args) < 2 {
				return usagef("exec needs a VM and a command: banger vm exec VM -- COMMAND")
			}
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			return a.session(cmd.Context(), c, args[0], sessionOptions{argv: args[1:], tty: tty})
		},
	}
	// What follows the VM is the command's, flags and all.
	cmd.Flags().SetInterspersed(false)
	tty.add(cmd)
	return cmd
}
