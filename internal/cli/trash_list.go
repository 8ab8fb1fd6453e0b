package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"banger/internal/api"
)

func (a *app) trashList() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List deleted VMs whose disks are kept",
		Example: "  banger trash list\n  banger trash list --json",
	}
	listing(a, (*api.Client).ListTrash, func(list []api.TrashEntry) error {
		return a.table(func(w io.Writer) {
			fmt.Fprintln(w, "NAME\tID\tDISK\tDELETED\tREMARKS")
			for _, e := range list {
				remark := ""
				switch {
				case e.NotSaved != "":
					remark = "work was not saved: " + clean(e.NotSaved)
				case e.Session:
					remark = "went with its session (--rm)"
				}
				fmt.Fprintf(w, "%s\t%.12s\t%s\t%s ago\t%s\n", clean(e.Name), e.ID, bytesText(e.UsedBytes), age(e.DeletedAt), remark)
			}
		})
	})(cmd)
	return cmd
}
