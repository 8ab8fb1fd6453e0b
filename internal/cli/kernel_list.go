package cli

import (
	"github.com/spf13/cobra"

	"banger/internal/api"
)

func (a *app) kernelList() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the kernels that are here",
		Example: "  banger kernel list\n  banger kernel list --json",
	}
	listing(a, (*api.Client).ListKernels, func(list []api.Kernel) error {
		var out []artifact
		for _, k := range list {
			out = append(out, artifact{k.Ref, k.Digest, k.SizeBytes, k.CreatedAt, k.Source + ", " + k.Release, k.Default, false})
		}
		return a.writeArtifacts(out)
	})(cmd)
	return cmd
}
