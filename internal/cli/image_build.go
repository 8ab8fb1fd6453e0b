package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"banger/internal/api"
	"banger/internal/vm"
)

func (a *app) imageBuild() *cobra.Command {
	var (
		name          text
		packages      []string
		quiet, asJSON bool
	)
	cmd := &cobra.Command{
		Use: "build [flags]", Short: "Build the default image anew, or one with more packages",
		Long: `Build the Debian 12 image from Debian's signed packages. With --name and --package
the image has more of them, and is kept under that name for --image; an image that
had the name is replaced. VMs that exist keep the image that they were made from.`,
		Example: `  banger image build
  banger image build --name web --package nginx --package postgresql
  banger vm run --image web`,
		Args: args(0, 0, "nothing"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("name") && name == "" {
				return fieldError("name", fmt.Errorf("name is empty"))
			}
			if len(packages) > 0 && name == "" {
				return fieldError("package", fmt.Errorf("an image with more packages needs a name: --name NAME"))
			}
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			show := a.display(quiet, false)
			i, err := c.BuildImage(cmd.Context(), api.ImageBuild{Ref: string(name), Packages: packages}, each(show))
			show.close()
			if err != nil {
				return err
			}
			if asJSON {
				return a.json(i)
			}
			return a.write("%s\n", clean(imageText(i)))
		},
	}
	cmd.Flags().Var(&name, "name", "keep it under this `NAME` (default "+vm.DefImage+")")
	cmd.Flags().StringArrayVar(&packages, "package", nil, "put this Debian `PACKAGE` in, with what it depends on and recommends; repeatable")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "no progress and no notices")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	cmd.RegisterFlagCompletionFunc("name", a.imageRefs)
	cmd.RegisterFlagCompletionFunc("package", nothing)
	return cmd
}

func imageText(i api.Image) string { return i.Ref + " " + i.Digest }
