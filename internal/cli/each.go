package cli

import (
	"context"
	"fmt"
	"sync"

	"github.com/spf13/cobra"

	"banger/internal/api"
)

// eachRef is a command for several VMs at once: do is called for all of them
// concurrently, what they say is reported in the order given, and one that
// fails stops no other.
func (a *app) eachRef(cmd *cobra.Command, do func(ctx context.Context, c *api.Client, ref string, show display) (api.VM, error)) {
	var quiet, asJSON bool
	cmd.Args = args(1, -1, "a VM: a name, an id, or the beginning of an id")
	cmd.ValidArgsFunction = a.refs
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "no progress and no notices")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the VMs as a JSON array")
	cmd.RunE = func(cmd *cobra.Command, refs []string) error {
		ctx := cmd.Context()
		c, err := a.connect(ctx)
		if err != nil {
			return err
		}
		show := &sharedDisplay{d: a.display(quiet, false)}
		vms, errs := make([]api.VM, len(refs)), make([]error, len(refs))
		var wg sync.WaitGroup
		for i, ref := range refs {
			wg.Go(func() { vms[i], errs[i] = do(ctx, c, ref, show) }) // ends with ctx at the latest
		}
		wg.Wait()
		show.close()
		return a.reportEach(refs, vms, errs, asJSON)
	}
}

func (a *app) reportEach(refs []string, vms []api.VM, errs []error, asJSON bool) error {
	done := []api.VM{}
	var failed error
	for i := range refs {
		switch {
		case errs[i] != nil && len(refs) == 1:
			return errs[i]
		case errs[i] != nil:
			a.report(fmt.Errorf("%s: %w", refs[i], errs[i]))
			failed = fmt.Errorf("%w: %w", errReported, errs[i])
		default:
			done = append(done, vms[i])
			if !asJSON {
				if err := a.write("%s\n", vms[i].Spec.Name); err != nil {
					return err
				}
			}
		}
	}
	if asJSON {
		if err := a.json(done); err != nil {
			return err
		}
	}
	return failed
}

// sharedDisplay takes events of several VMs: their stages share a line.
type sharedDisplay struct {
	mu sync.Mutex
	d  display
}

func (s *sharedDisplay) event(e api.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.d.event(e)
}

func (s *sharedDisplay) close() { s.d.close() }
