package cli

import (
	"context"
	"fmt"
	"sync"

	"github.com/spf13/cobra"

	"banger/internal/api"
)

// verb is a command for several VMs at once.
type verb struct {
	cmd *cobra.Command
	do  func(ctx context.Context, c *api.Client, ref string, each func(api.Event)) (api.VM, error)
	// instant says that there is nothing to wait for: no progress.
	instant bool
	// human prints a VM; first says that nothing was printed before it.
	human func(v api.VM, first bool) error
}

// command makes v's command: do is called for all references concurrently,
// what they say is reported in the order given, and one that fails stops no
// other.
func (a *app) command(v verb) *cobra.Command {
	var quiet, asJSON bool
	v.cmd.Args = args(1, -1, "a VM: a name, an id, or the beginning of an id")
	if !v.instant {
		v.cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "no progress and no notices")
	}
	v.cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, an object a VM")
	v.cmd.RunE = func(cmd *cobra.Command, refs []string) error {
		ctx := cmd.Context()
		c, err := a.connect(ctx)
		if err != nil {
			return err
		}
		show := &sharedDisplay{d: a.display(quiet || v.instant, false)}
		vms, errs := make([]api.VM, len(refs)), make([]error, len(refs))
		var wg sync.WaitGroup
		for i, ref := range refs {
			who := ref
			if len(refs) == 1 {
				who = ""
			}
			wg.Go(func() { // ends with ctx at the latest
				vms[i], errs[i] = v.do(ctx, c, ref, func(e api.Event) { show.event(who, e) })
			})
		}
		wg.Wait()
		show.close()
		if len(refs) == 1 && errs[0] != nil {
			return errs[0]
		}
		return a.reportEach(refs, vms, errs, func(v2 api.VM, first bool) error {
			switch {
			case asJSON:
				return a.json(v2)
			case v.human != nil:
				return v.human(v2, first)
			}
			return a.write("%s\n", v2.Spec.Name)
		})
	}
	return v.cmd
}

// reportEach prints what came of each reference. Its error is the last one.
func (a *app) reportEach(refs []string, vms []api.VM, errs []error, print func(v api.VM, first bool) error) error {
	var failed error
	first := true
	for i := range refs {
		if errs[i] != nil {
			failed = fmt.Errorf("%s: %w", refs[i], errs[i])
			a.report(failed)
			continue
		}
		if err := print(vms[i], first); err != nil {
			return err
		}
		first = false
	}
	if failed != nil {
		return fmt.Errorf("%w: %w", errReported, failed)
	}
	return nil
}
