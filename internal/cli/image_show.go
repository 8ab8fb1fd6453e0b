package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"banger/internal/api"
)

func (a *app) imageShow() *cobra.Command {
	return several(a, verb[api.Image]{
		cmd: &cobra.Command{
			Use: "show [flags] IMAGE…", Short: "Show images in full",
			Long: `Show what is known of images: how they were made, and which VMs use them.`,
			Example: `  banger image show web
  banger image show debian-12 --json | jq -r .digest`,
			ValidArgsFunction: a.imageRefs,
		},
		images: true, instant: true,
		do: func(ctx context.Context, c *api.Client, ref string, _ api.Each) (api.Image, error) {
			return c.ShowImage(ctx, ref)
		},
		human: func(i api.Image, first bool) error {
			if !first {
				if err := a.write("\n"); err != nil {
					return err
				}
			}
			return a.table(func(w io.Writer) { writeImage(w, i) })
		},
	})
}

// writeImage writes a line for each fact about i.
func writeImage(w io.Writer, i api.Image) {
	line := func(key, format string, args ...any) { fmt.Fprintf(w, key+"\t"+format+"\n", args...) }
	line("ref", "%s", clean(i.Ref))
	if i.Outdated {
		line("outdated", "it is of an older recipe: the next VM that asks for it gets a new one")
	}
	line("digest", "%s", clean(i.Digest))
	line("size", "%s", bytesText(i.SizeBytes))
	line("created", "%s", moment(i.CreatedAt))
	line("source", "%s", clean(i.Source))
	if len(i.Packages) > 0 {
		line("packages", "%s", clean(strings.Join(i.Packages, " ")))
	}
	if len(i.UsedBy) > 0 {
		line("used by", "%s", clean(strings.Join(i.UsedBy, ", ")))
	}
	line("path", "%s", clean(i.Path))
}
