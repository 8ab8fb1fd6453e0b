package cli

import (
	"github.com/spf13/cobra"

	"banger/internal/api"
)

func (a *app) trashEmpty() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "empty [flags] [REF…]", Short: "Remove deleted VMs' disks for good",
		Long: `Remove the disks of all deleted VMs, or only of those named. They can't be had
back. A VM with work that was not saved is kept, unless it is named.`,
		Example: `  banger trash empty
  banger trash empty dev 3fa4`,
		Args:              args(0, -1, "nothing"),
		ValidArgsFunction: a.trashRefs(0),
		RunE: func(cmd *cobra.Command, refs []string) error {
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			e, err := c.EmptyTrash(cmd.Context(), api.TrashEmpty{Refs: refs})
			if err != nil {
				return err
			}
			if asJSON {
				return a.json(e)
			}
			for _, k := range e.Kept {
				a.note("%s is kept, because work in it was not saved: %s\nbanger trash empty %s removes it", k.Name, k.NotSaved, k.Name)
			}
			return a.write("%d removed, %s freed\n", e.Entries, bytesText(e.UsedBytes))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// trashRefs completes deleted VMs; most is how many are taken, 0 any number.
func (a *app) trashRefs(most int) completer {
	return func(cmd *cobra.Command, args []string, _ string) (out []string, _ cobra.ShellCompDirective) {
		if most == 0 || len(args) < most {
			for _, e := range ask(a, cmd, (*api.Client).ListTrash) {
				out = append(out, clean(e.Name)+"\tdeleted "+age(e.DeletedAt)+" ago")
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}
