package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"banger/internal/api"
)

func (a *app) trashList() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List deleted VMs whose disks are still there",
		Example: "  banger trash list\n  banger trash list --json",
	}
	listing(a, api.PathTrash, func(list []api.TrashEntry) error {
		return a.table(func(w io.Writer) {
			fmt.Fprintln(w, "NAME\tID\tDISK\tDELETED")
			for _, e := range list {
				fmt.Fprintf(w, "%s\t%.12s\t%s\t%s ago\n", clean(e.Name), e.ID, bytesText(e.UsedBytes), age(e.DeletedAt))
			}
		})
	})(cmd)
	return cmd
}
