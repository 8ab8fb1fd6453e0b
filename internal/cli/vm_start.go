package cli

import (
	"context"

	"github.com/spf13/cobra"

	"banger/internal/api"
	"banger/internal/vm"
)

func (a *app) vmStart() *cobra.Command {
	var (
		f   startFlags
		req api.Start

		repair bool
	)
	cmd := several(a, verb[api.VM]{
		cmd: &cobra.Command{
			Use:   "start [flags] VM…",
			Short: "Start VMs",
			Long: `Start VMs and wait until commands can run in them. A VM that runs already is
left as it is. A VM that is stopping is started after its end.

A VM that the host's memory can't hold is refused, unless --force is given.

A VM whose disk is damaged is refused, and its disk is left as it is. With
--repair the disk is repaired first: its metadata are made anew of what can be
read, and then the image's e2fsck repairs the file system. What can't be read is
lost. What the metadata were is kept beside the disk.`,
			Example: `  banger vm start dev
  banger vm start dev db 3fa4
  banger vm start --wait=system dev
  banger vm start --repair dev`,
			ValidArgsFunction: a.names(0, vm.Created, vm.Stopped, vm.Stopping, vm.Error),
		},
		check: func() (err error) {
			req, err = f.request()
			req.Repair = repair
			return err
		},
		do: func(ctx context.Context, c *api.Client, ref string, each api.Each) (api.VM, error) {
			return c.StartVM(ctx, ref, req, each)
		},
		name: vmName,
	})
	f.add(cmd)
	cmd.Flags().BoolVar(&repair, "repair", false, "repair its damaged disk first, whatever is lost")
	return cmd
}
