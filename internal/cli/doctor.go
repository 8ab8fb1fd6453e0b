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
	"banger/internal/workspace"
)

// errUnwell says that a check failed.
var errUnwell = errors.New("this host lacks something that banger needs: see above")

func (a *app) doctor() *cobra.Command {
	var asJSON, fix bool
	cmd := &cobra.Command{
		Use: "doctor", Short: "Check what this host has and lacks",
		Long: `Check what banger needs of this host, say what each lack costs and what mends
it. Nothing is changed, but with --fix: a damaged database is set aside and made
anew from the VMs' own records, and an apply that was cut is taken back, in the
current directory or in a repository that a saved work is of. The exit status is 125
where something needed is missing.`,
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
			host.NamesProblem = func(ctx context.Context) (string, error) {
				d, err := api.NewClient(d.Socket()).AnyVersion().ShowDaemon(ctx)
				return d.NamesProblem, err
			}
			host.CutApplies = func(ctx context.Context) (roots []string, err error) {
				list, err := cutApplies(ctx, d.Work())
				for _, r := range list {
					roots = append(roots, r.Root)
				}
				return roots, err
			}
			if fix {
				if err := a.takeAllBack(cmd.Context(), d.Work()); err != nil {
					return err
				}
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
	cmd.Flags().BoolVar(&fix, "fix", false, "mend the VMs' records, and take back what was cut, first")
	return cmd
}

// cutApplies are the repositories, of those that works in dir are of and of the current
// directory's, in which an apply was cut.
func cutApplies(ctx context.Context, dir string) (cut []*workspace.Repository, err error) {
	works, _, err := workspace.List(dir)
	if err != nil {
		return nil, err
	}
	paths := []string{"."}
	for _, s := range works {
		paths = append(paths, s.Info.Repository)
	}
	seen := map[string]bool{}
	for _, path := range paths {
		r, err := workspace.Open(ctx, path, "")
		if err != nil || r.IsPlain() || seen[r.Root] {
			continue // it may be gone
		}
		seen[r.Root] = true
		if is, err := workspace.WasCut(r); err != nil {
			return nil, err
		} else if is {
			cut = append(cut, r)
		}
	}
	return cut, nil
}

// takeAllBack takes back the applies that were cut.
func (a *app) takeAllBack(ctx context.Context, dir string) error {
	show := a.display(false, false)
	defer show.close()
	list, err := cutApplies(ctx, dir)
	for _, r := range list {
		_, terr := a.takeUp(ctx, r, show)
		err = errors.Join(err, terr)
	}
	return err
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
