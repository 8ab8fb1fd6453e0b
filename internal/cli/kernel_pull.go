package cli

import (
	"github.com/spf13/cobra"

	"banger/internal/api"
	"banger/internal/vm"
)

func (a *app) kernelPull() *cobra.Command {
	cmd := &cobra.Command{
		Use: "pull [KERNEL]", Short: "Get the newest default kernel",
		Long: `Get Debian's cloud kernel with its modules. New VMs take it; VMs that are there
keep the one that they were made with.`,
		Example: "  banger kernel pull\n  banger kernel pull debian-12-cloud --json",
	}
	obtaining(a, api.PathKernelPull, vm.DefKernel, func(ref string) any { return api.KernelPull{Ref: ref} }, kernelText)(cmd)
	return cmd
}
