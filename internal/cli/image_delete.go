package cli

import (
	"context"

	"github.com/spf13/cobra"

	"banger/internal/api"
)

func (a *app) imageDelete() *cobra.Command {
	return several(a, verb[api.Image]{
		cmd: &cobra.Command{
			Use: "delete [flags] IMAGE…", Aliases: []string{"rm"}, Short: "Remove images that no VM uses",
			Long: `Remove images. One that a VM was made from is refused. The default image is built
again when a VM asks for it.`,
			Example:           "  banger image delete web",
			ValidArgsFunction: a.imageRefs,
		},
		images: true, instant: true,
		do: func(ctx context.Context, c *api.Client, ref string, _ api.Each) (api.Image, error) {
			return c.DeleteImage(ctx, ref)
		},
		name: func(i api.Image) string { return i.Ref },
	})
}
