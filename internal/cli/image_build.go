package cli

import (
	"github.com/spf13/cobra"

	"banger/internal/api"
	"banger/internal/vm"
)

func (a *app) imageBuild() *cobra.Command {
	cmd := &cobra.Command{
		Use: "build [IMAGE]", Short: "Build the default image anew",
		Long: `Build the Debian 12 image from Debian's signed packages. New VMs take it; VMs
that are there keep the one that they were made from.`,
		Example: "  banger image build\n  banger image build debian-12 --json",
	}
	obtaining(a, api.PathImageBuild, vm.DefImage, func(ref string) any { return api.ImageBuild{Ref: ref} }, imageText)(cmd)
	return cmd
}
