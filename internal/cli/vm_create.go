package cli

import (
	"github.com/spf13/cobra"

	"banger/internal/api"
)

func (a *app) vmCreate() *cobra.Command {
	var (
		f       vmFlags
		noStart bool
	)
	cmd := &cobra.Command{
		Use:   "create [flags]",
		Short: "Make a VM and start it",
		Long:  `Make a VM, start it and print its name. It stays until it is deleted.`,
		Example: `  banger vm create --name dev --vcpu 2 --memory 4G
  banger vm create --ttl 8h --wait=system
  banger vm create --no-start
  banger vm create --json | jq -r .id`,
		Args: args(0, 0, "nothing"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			req, err := f.create(a, cmd)
			if err != nil {
				return err
			}
			if noStart && (cmd.Flags().Changed("wait") || f.start.force) {
				return usagef("--no-start excludes --wait and --force: nothing is started")
			}
			req.Start = !noStart
			c, err := a.connect(ctx)
			if err != nil {
				return err
			}
			show := a.display(f.quiet, false)
			v, err := withConfig(req, func(req api.Create) (api.VM, error) { return c.CreateVM(ctx, req, each(show)) })
			show.close()
			if err != nil {
				return err
			}
			if f.json {
				return a.json(v)
			}
			return a.write("%s\n", clean(v.Name))
		},
	}
	f.add(a, cmd)
	cmd.SetUsageFunc(usage(titleNetwork))
	cmd.Flags().BoolVar(&f.json, "json", false, "print the VM as JSON")
	cmd.Flags().BoolVar(&noStart, "no-start", false, "make the VM without starting it")
	return cmd
}
