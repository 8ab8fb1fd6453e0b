package cli

import (
	"github.com/spf13/cobra"

	"banger/internal/api"
)

func (a *app) imageList() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the images that are here",
		Example: "  banger image list\n  banger image list --json",
	}
	listing(a, (*api.Client).ListImages, func(list []api.Image) error {
		var out []artifact
		for _, i := range list {
			out = append(out, artifact{i.Ref, i.Digest, i.SizeBytes, i.CreatedAt, i.Source, i.Default, i.Outdated})
		}
		return a.writeArtifacts(out)
	})(cmd)
	return cmd
}
