package cli

import (
	"github.com/spf13/cobra"

	"banger/internal/api"
	"banger/internal/vm"
)

func (a *app) trashRestore() *cobra.Command {
	var (
		name   text
		asJSON bool
	)
	cmd := &cobra.Command{
		Use: "restore [flags] REF", Short: "Take a VM out of the trash",
		Long: `Take a deleted VM out of the trash, with its disk. It is stopped then. REF is its
name, its id, or the beginning of an id; of several VMs of one name, give the id.`,
		Example: `  banger trash restore dev
  banger trash restore 3fa4 --name old-dev`,
		Args:              args(1, 1, "a VM in the trash"),
		ValidArgsFunction: a.trashRefs(1),
		RunE: func(cmd *cobra.Command, refs []string) error {
			if cmd.Flags().Changed("name") {
				if err := vm.CheckName(string(name)); err != nil {
					return fieldError("name", err)
				}
			}
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			v, err := c.RestoreTrash(cmd.Context(), refs[0], api.TrashRestore{Name: string(name)})
			if err != nil {
				return err
			}
			if asJSON {
				return a.json(v)
			}
			return a.write("%s\n", clean(v.Name))
		},
	}
	cmd.Flags().Var(&name, "name", "its new `NAME`, if another VM has the old one")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the VM as JSON")
	cmd.RegisterFlagCompletionFunc("name", nothing)
	return cmd
}
