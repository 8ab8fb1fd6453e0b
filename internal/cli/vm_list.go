package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"banger/internal/api"
	"banger/internal/vm"
)

func (a *app) vmList() *cobra.Command {
	var quiet, asJSON bool
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List all VMs",
		Long:    `List all VMs, whatever their state, by the time they were made.`,
		Example: `  banger vm list
  banger vm list -q
  banger vm list --json | jq -r '.[] | select(.state == "running") | .spec.name'`,
		Args: args(0, 0, "nothing"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			var list []api.VM
			if err := c.Get(cmd.Context(), api.PathVMs, &list); err != nil {
				return err
			}
			switch {
			case asJSON:
				return a.json(append([]api.VM{}, list...)) // never null
			case quiet:
				for _, v := range list {
					if err := a.write("%s\n", v.ID); err != nil {
						return err
					}
				}
				return nil
			}
			return a.table(func(w io.Writer) {
				fmt.Fprintln(w, "NAME\tID\tSTATE\tIMAGE\tVCPU\tMEMORY\tDISK USED\tAGE")
				for _, v := range list {
					fmt.Fprintf(w, "%s\t%.12s\t%s\t%s\t%d\t%s\t%s of %s\t%s\n", v.Spec.Name, v.ID, v.State, clean(v.Spec.Image),
						v.Spec.VCPUs, vm.FormatMiB(v.Spec.MemMiB), bytesText(v.DiskUsedBytes), vm.FormatMiB(v.Spec.DiskMiB), age(v.CreatedAt))
				}
			})
		},
	}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "ids alone")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
