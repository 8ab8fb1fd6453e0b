package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"banger/internal/api"
)

// verb is a command for several VMs at once; T is what comes of each.
type verb[T any] struct {
	cmd *cobra.Command
	do  func(ctx context.Context, c *api.Client, ref string, each api.Each) (T, error)
	// images says that its references are images' names.
	images bool
	// check, if it is set, refuses flags before anything is asked of a daemon.
	check func() error
	// instant says that there is nothing to wait for: no progress is shown.
	instant bool
	// human prints a result; first says that nothing was printed before it. nil
	// prints name.
	human func(v T, first bool) error
	name  func(T) string
	// goesOn says that the daemon does not give up when this program ends.
	goesOn bool
	// after, if it is set, is called with all results, unless --quiet or --json
	// is given.
	after func([]T)
}

// vmName is the name of a verb's result that is a VM.
func vmName(v api.VM) string { return v.Name }

// several makes v's command: do is called for all references at once, the
// results are reported in the order given, and a failure stops no other
// reference.
func several[T any](a *app, v verb[T]) *cobra.Command {
	var quiet, asJSON bool
	kind, ref := "VM", "a VM: a name, an id, or the beginning of an id"
	if v.images {
		kind, ref = "image", "an image's name"
	}
	v.cmd.Args = args(1, -1, ref)
	if !v.instant {
		v.cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "no progress and no notices")
	}
	v.cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, an object for each "+kind)
	v.cmd.RunE = func(cmd *cobra.Command, refs []string) error {
		if v.check != nil {
			if err := v.check(); err != nil {
				return err
			}
		}
		ctx := cmd.Context()
		c, err := a.connect(ctx)
		if err != nil {
			return err
		}
		show := &sharedDisplay{d: a.display(quiet || v.instant, false)}
		results, errs := make([]T, len(refs)), make([]error, len(refs))
		var wg sync.WaitGroup
		for i, ref := range refs {
			who := ref
			if len(refs) == 1 {
				who = ""
			}
			wg.Go(func() { // ends with ctx at the latest
				results[i], errs[i] = v.do(ctx, c, ref, func(e api.Event) { show.event(who, e) })
			})
		}
		wg.Wait()
		show.close()
		if ctx.Err() != nil && errors.Is(errors.Join(errs...), context.Canceled) {
			return interrupted(a, refs, errs, v.goesOn)
		}
		if len(refs) == 1 && errs[0] != nil {
			return errs[0]
		}
		var done []T
		err = reportEach(a, refs, results, errs, func(r T, first bool) error {
			done = append(done, r)
			switch {
			case asJSON:
				return a.json(r)
			case v.human != nil:
				return v.human(r, first)
			}
			return a.write("%s\n", clean(v.name(r)))
		})
		if v.after != nil && !quiet && !asJSON {
			v.after(done)
		}
		return err
	}
	return v.cmd
}

// interrupted says once what became of several references when a signal came.
func interrupted(a *app, refs []string, errs []error, goesOn bool) error {
	var open []string
	for i, err := range errs {
		switch {
		case err == nil:
		case errors.Is(err, context.Canceled):
			open = append(open, refs[i])
		default:
			a.report(fmt.Errorf("%s: %w", refs[i], err))
		}
	}
	if goesOn && len(open) > 0 {
		a.note("bangerd goes on with %s", strings.Join(open, ", "))
	}
	return context.Canceled
}

// reportEach prints what came of each reference. Its error is the first
// failure, already reported.
func reportEach[T any](a *app, refs []string, results []T, errs []error, print func(r T, first bool) error) error {
	var failed error
	first := true
	for i := range refs {
		if errs[i] != nil {
			err := fmt.Errorf("%s: %w", refs[i], errs[i])
			a.report(err)
			if failed == nil {
				failed = err
			}
			continue
		}
		if err := print(results[i], first); err != nil {
			return err
		}
		first = false
	}
	if failed != nil {
		return fmt.Errorf("%w: %w", errReported, failed)
	}
	return nil
}
