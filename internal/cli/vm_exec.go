package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"banger/internal/vm"
)

func (a *app) vmExec() *cobra.Command {
	var how commandFlags
	cmd := &cobra.Command{
		Use:   "exec [flags] VM -- COMMAND [ARG…]",
		Short: "Run a command in a running VM",
		Long: `Run a command in a running VM: in its workspace if it has exactly one, else in
root's home. Its arguments arrive byte for byte, because no shell reads them. Its exit
status is banger's, as with vm run.

When the command ends, what it left in the background lives on. When banger is ended
before the command, the command's session is ended (SIGHUP, SIGKILL after 2 s), and only
what made a session of its own lives: setsid does that, nohup does not.`,
		Example: `  banger vm exec dev -- ls -l /
  banger vm exec dev -- sh -c 'echo "$HOME"'
  banger vm exec dev -- tar c /etc > etc.tar
  banger vm exec -e DEBUG=1 -w /srv -u www-data dev -- env
  ls | while read f; do banger vm exec -n dev -- stat "$f"; done`,
		ValidArgsFunction: a.names(1, vm.Running),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := how.check(); err != nil {
				return err
			}
			ref, argv, err := guestCommand(args)
			if err != nil {
				return err
			}
			if ref == "" || len(argv) == 0 {
				return usagef("exec needs a VM and a command: banger vm exec VM -- COMMAND")
			}
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			where, err := c.VMSession(cmd.Context(), ref)
			if err != nil {
				return err
			}
			return a.session(cmd.Context(), c, where, sessionOptions{argv: argv, how: &how})
		},
	}
	// All that follows the VM belongs to the command, flags too.
	cmd.Flags().SetInterspersed(false)
	how.add(cmd)
	return cmd
}

// guestCommand splits the arguments of exec and ssh: the VM and, after -- or
// without it, the command. A flag right after the VM is refused, because nobody
// means it as the command's name.
func guestCommand(args []string) (ref string, argv []string, err error) {
	if len(args) == 0 {
		return "", nil, nil
	}
	ref, argv = args[0], args[1:]
	switch {
	case len(argv) == 0:
	case argv[0] == "--":
		argv = argv[1:]
	case strings.HasPrefix(argv[0], "-"):
		return "", nil, usagef("flag %s goes before the VM, or after -- if it is the command's", argv[0])
	}
	return ref, argv, nil
}
