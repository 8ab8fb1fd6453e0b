package cli

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"banger/internal/api"
)

func (a *app) trashList() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List deleted VMs whose disks are still there",
		Example: "  banger trash list",
	}
	listing(a, api.PathTrash, func(list []api.TrashEntry) error {
		w := tabwriter.NewWriter(a.stdout, 0, 8, 2, ' ', 0)
		fmt.Fprintln(w, "NAME\tID\tDISK\tDELETED")
		for _, e := range list {
			fmt.Fprintf(w, "%s\t%.12s\t%s\t%s ago\n", clean(e.Name), e.ID, bytesText(e.UsedBytes), age(e.DeletedAt))
		}
		return w.Flush()
	})(cmd)
	return cmd
}
