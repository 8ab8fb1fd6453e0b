package cli

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// flagGroup is the annotation of a flag that the help shows below a title of its own.
const flagGroup = "group"

// grouped puts the flags that add adds to cmd below title in its help.
func grouped(cmd *cobra.Command, title string, add func()) {
	before := map[string]bool{}
	cmd.Flags().VisitAll(func(f *pflag.Flag) { before[f.Name] = true })
	add()
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !before[f.Name] && f.Annotations[flagGroup] == nil {
			cmd.Flags().SetAnnotation(f.Name, flagGroup, []string{title})
		}
	})
}

// firstTyped is a flag of that title that was typed, or "".
func firstTyped(cmd *cobra.Command, title string) (name string) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if t := f.Annotations[flagGroup]; name == "" && len(t) > 0 && t[0] == title {
			name = f.Name
		}
	})
	return name
}

// usage is cobra's own, with the groups of flags after the other flags. They come in
// the order of titles.
func usage(titles ...string) func(*cobra.Command) error {
	usual := new(cobra.Command).UsageFunc()
	return func(cmd *cobra.Command) error {
		sets := map[string]*pflag.FlagSet{}
		var hidden []*pflag.Flag
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			t := f.Annotations[flagGroup]
			if len(t) == 0 || f.Hidden {
				return
			}
			if sets[t[0]] == nil {
				sets[t[0]] = pflag.NewFlagSet(t[0], pflag.ContinueOnError)
			}
			shown := *f
			sets[t[0]].AddFlag(&shown)
			hidden = append(hidden, f)
		})
		for _, f := range hidden { // from usual
			f.Hidden = true
			defer func() { f.Hidden = false }()
		}
		if err := usual(cmd); err != nil {
			return err
		}
		for _, t := range titles {
			if set := sets[t]; set != nil {
				fmt.Fprintf(cmd.OutOrStderr(), "\n%s:\n%s", t, set.FlagUsages())
			}
		}
		return nil
	}
}
