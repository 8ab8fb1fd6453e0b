package cli

import (
	"net/http"

	"github.com/spf13/cobra"

	"banger/internal/api"
)

func (a *app) trashEmpty() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "empty", Short: "Remove deleted VMs' disks for good",
		Long:    `Remove the disks of all deleted VMs. They can't be had back.`,
		Example: "  banger trash empty",
		Args:    args(0, 0, "nothing"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			var e api.TrashEmptied
			if err := c.Do(cmd.Context(), http.MethodPost, api.PathTrashEmpty, nil, &e); err != nil {
				return err
			}
			if asJSON {
				return a.json(e)
			}
			return a.write("%d removed, %s freed\n", e.Entries, bytesText(e.UsedBytes))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
