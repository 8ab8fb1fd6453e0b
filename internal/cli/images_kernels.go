package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"banger/internal/api"
)

// artifact is what images and kernels have in common for a listing.
type artifact struct {
	ref, digest string
	size        int64
	created     time.Time
	source      string
	isDefault   bool
	outdated    bool // the next VM gets another
}

func (a *app) writeArtifacts(list []artifact) error {
	return a.table(func(w io.Writer) {
		fmt.Fprintln(w, "REF\tDIGEST\tSIZE\tAGE\tSOURCE")
		for _, i := range list {
			ref := clean(i.ref)
			switch {
			case i.outdated:
				ref += " (default, outdated)"
			case i.isDefault:
				ref += " (default)"
			}
			fmt.Fprintf(w, "%s\t%.19s\t%s\t%s\t%s\n", ref, clean(i.digest), bytesText(i.size), age(i.created), clean(i.source))
		}
	})
}

// listing is a command that gets one list.
func listing[T any](a *app, call func(*api.Client, context.Context) ([]T, error), human func([]T) error) func(*cobra.Command) {
	return func(cmd *cobra.Command) {
		var asJSON bool
		cmd.Args = args(0, 0, "nothing")
		cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
		cmd.RunE = func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			list, err := call(c, cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return a.json(append([]T{}, list...)) // never null
			}
			return human(list)
		}
	}
}

// obtaining is a command that gets one image or kernel anew.
func obtaining[T any](a *app, ref string, call func(ctx context.Context, c *api.Client, ref string, each api.Each) (T, error), human func(T) string) func(*cobra.Command) {
	return func(cmd *cobra.Command) {
		var quiet, asJSON bool
		cmd.Args = args(0, 1, "nothing")
		cmd.ValidArgsFunction = cobra.FixedCompletions([]string{ref}, cobra.ShellCompDirectiveNoFileComp)
		cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "no progress and no notices")
		cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
		cmd.RunE = func(cmd *cobra.Command, refs []string) error {
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			ref := ""
			if len(refs) > 0 {
				ref = refs[0]
			}
			show := a.display(quiet, false)
			result, err := call(cmd.Context(), c, ref, each(show))
			show.close()
			if err != nil {
				return err
			}
			if asJSON {
				return a.json(result)
			}
			return a.write("%s\n", clean(human(result)))
		}
	}
}

func kernelText(k api.Kernel) string { return k.Ref + " " + k.Release + " " + k.Digest }
