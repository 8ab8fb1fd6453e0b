package cli

import (
	"context"

	"github.com/spf13/cobra"

	"banger/internal/api"
	"banger/internal/vm"
)

func (a *app) kernelPull() *cobra.Command {
	cmd := &cobra.Command{
		Use: "pull [KERNEL]", Short: "Get the newest default kernel",
		Long: `Get Debian's cloud kernel with its modules. New VMs use it; VMs that exist
keep the kernel that they were made with.`,
		Example: "  banger kernel pull\n  banger kernel pull debian-12-cloud --json",
	}
	obtaining(a, vm.DefKernel, func(ctx context.Context, c *api.Client, ref string, each api.Each) (api.Kernel, error) {
		return c.PullKernel(ctx, api.KernelPull{Ref: ref}, each)
	}, kernelText)(cmd)
	return cmd
}
