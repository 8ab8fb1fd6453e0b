package cli

import (
	"net/http"

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
  banger vm create --no-start
  banger vm create --json | jq -r .id`,
		Args: args(0, 0, "nothing"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			spec, err := f.spec(cmd)
			if err != nil {
				return err
			}
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			show := a.display(f.quiet, false)
			var v api.VM
			err = c.Stream(cmd.Context(), http.MethodPost, api.PathVMs, api.Create{Spec: spec, Start: !noStart}, &v, each(show))
			show.close()
			if err != nil {
				return err
			}
			if f.json {
				return a.json(v)
			}
			return a.write("%s\n", v.Spec.Name)
		},
	}
	f.add(a, cmd)
	cmd.Flags().BoolVar(&f.json, "json", false, "print the VM as JSON")
	cmd.Flags().BoolVar(&noStart, "no-start", false, "only make it")
	return cmd
}
