package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"banger/internal/doctor"
	"banger/internal/paths"
)

// errUnwell says that a check failed.
var errUnwell = errors.New("this host lacks something that banger needs: see above")

func (a *app) doctor() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "doctor", Short: "Check what this host has and lacks",
		Long: `Check what banger needs of this host, say what each lack costs and what mends
it. Nothing is changed. The exit status is 125 where something needed is missing.`,
		Example: "  banger doctor\n  banger doctor --json",
		Args:    args(0, 0, "nothing"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := paths.Host()
			if err != nil {
				return err
			}
			results := doctor.Run(cmd.Context(), doctor.Host(d))
			if asJSON {
				if err := a.json(results); err != nil {
					return err
				}
			}
			var failed error
			for _, r := range results {
				if r.Status == doctor.Fail {
					failed = errUnwell
				}
				if asJSON {
					continue
				}
				if err := a.write("%-5s %-12s %s\n", r.Status, r.Check, clean(r.Detail)); err != nil {
					return err
				}
				if r.Cost != "" {
					a.write("%18s %s\n", "", clean(r.Cost))
				}
				if r.Fix != "" {
					a.write("%18s → %s\n", "", r.Fix)
				}
			}
			if failed != nil && asJSON {
				return fmt.Errorf("%w: %w", errReported, failed)
			}
			return failed
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
