package cli

import (
	"context"

	"github.com/spf13/cobra"

	"banger/internal/api"
)

func (a *app) vmDelete() *cobra.Command {
	var req api.Delete
	cmd := several(a, verb[api.Deleted]{
		cmd: &cobra.Command{
			Use:     "delete [flags] VM…",
			Aliases: []string{"rm"},
			Short:   "Delete VMs",
			Long: `Delete VMs. The disk of a VM that ever ran is kept in the trash for a while: the
newest ones, up to 10 GiB and 7 days. A VM that runs is refused, unless -f is
given.`,
			Example: `  banger vm delete dev
  banger vm delete -f dev            end it first if it runs
  banger vm delete --discard dev     its disk is gone at once
  banger trash restore dev           have it back`,
			ValidArgsFunction: a.names(0),
		},
		goesOn: true,
		do: func(ctx context.Context, c *api.Client, ref string, each api.Each) (api.Deleted, error) {
			return c.DeleteVM(ctx, ref, req, each)
		},
		name:  func(d api.Deleted) string { return d.VM.Name },
		after: a.noteTrash,
	})
	cmd.Flags().BoolVarP(&req.Force, "force", "f", false, "end a running VM first, without stopping its services")
	cmd.Flags().BoolVar(&req.Discard, "discard", false, "remove the disk at once, past the trash")
	return cmd
}

// noteTrash says what emptying the trash would free, once for all of list.
func (a *app) noteTrash(list []api.Deleted) {
	trashed, bytes := false, int64(0)
	for _, d := range list {
		trashed = trashed || d.Trashed
		bytes = max(bytes, d.TrashBytes)
	}
	if trashed {
		a.noteTrashBytes(bytes)
	}
}

func (a *app) noteTrashBytes(n int64) {
	a.note("moved to the trash; banger trash empty would free %s", bytesText(n))
}
