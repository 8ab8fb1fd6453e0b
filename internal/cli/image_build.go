package cli

import (
	"context"

	"github.com/spf13/cobra"

	"banger/internal/api"
	"banger/internal/vm"
)

func (a *app) imageBuild() *cobra.Command {
	cmd := &cobra.Command{
		Use: "build [IMAGE]", Short: "Build the default image anew",
		Long: `Build the Debian 12 image from Debian's signed packages. New VMs use it; VMs
that exist keep the image that they were made from.`,
		Example: "  banger image build\n  banger image build debian-12 --json",
	}
	obtaining(a, vm.DefImage, func(ctx context.Context, c *api.Client, ref string, each api.Each) (api.Image, error) {
		return c.BuildImage(ctx, api.ImageBuild{Ref: ref}, each)
	}, imageText)(cmd)
	return cmd
}
