package cli

import (
	"runtime"

	"github.com/spf13/cobra"

	"banger/internal/api"
)

func (a *app) version() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "version", Short: "Print banger's version",
		Example: "  banger version\n  banger version --json",
		Args:    args(0, 0, "nothing"),
		RunE: func(*cobra.Command, []string) error {
			if asJSON {
				return a.json(map[string]any{"version": api.ProgramVersion(), "api": api.Version, "go": runtime.Version()})
			}
			return a.write("banger %s (API %d, %s)\n", api.ProgramVersion(), api.Version, runtime.Version())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
