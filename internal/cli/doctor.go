package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"banger/internal/api"
	"banger/internal/autostart"
	"banger/internal/doctor"
	"banger/internal/paths"
)

// errUnwell says that a check failed.
var errUnwell = errors.New("this host lacks something that banger needs: see above")

func (a *app) doctor() *cobra.Command {
	var asJSON, fix bool
	cmd := &cobra.Command{
		Use: "doctor", Short: "Check what this host has and lacks",
		Long: `Check what banger needs of this host, say what each lack costs and what mends
it. Nothing is changed, but with --fix: a damaged database is set aside and made
anew from the VMs' own records. The exit status is 125 where something needed is
missing.`,
		Example: "  banger doctor\n  banger doctor --json\n  banger doctor --fix",
		Args:    args(0, 0, "nothing"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := paths.Host()
			if err != nil {
				return err
			}
			host := doctor.Host(d)
			host.Version, host.FindDaemon = api.ProgramVersion(), autostart.FindDaemon
			host.DaemonVersion = func(ctx context.Context) (string, error) {
				d, err := api.NewClient(d.Socket()).AnyVersion().ShowDaemon(ctx)
				return d.Version, err
			}
			if fix {
				fixed, err := doctor.Fix(cmd.Context(), host)
				for _, line := range fixed {
					a.note("%s", line)
				}
				if err != nil {
					return err
				}
			}
			results := doctor.Run(cmd.Context(), host)
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
				if err := a.writeResult(r); err != nil {
					return err
				}
			}
			if failed != nil && asJSON {
				return fmt.Errorf("%w: %w", errReported, failed)
			}
			return failed
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&fix, "fix", false, "mend the VMs' records first")
	return cmd
}

// writeResult writes a check's outcome and, below it, its cost and cure.
func (a *app) writeResult(r doctor.Result) error {
	text := fmt.Sprintf("%-4s  %-11s %s\n", r.Status, r.Check, clean(r.Detail))
	if r.Cost != "" {
		text += fmt.Sprintf("%17s %s\n", "", clean(r.Cost))
	}
	if r.Fix != "" {
		text += fmt.Sprintf("%17s → %s\n", "", clean(r.Fix))
	}
	return a.write("%s", text)
}
