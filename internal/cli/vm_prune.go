package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"banger/internal/api"
	"banger/internal/hint"
	"banger/internal/vm"
)

type pruneOptions struct{ force, dryRun, quiet, json bool }

func (a *app) vmPrune() *cobra.Command {
	var o pruneOptions
	cmd := &cobra.Command{
		Use:   "prune [flags]",
		Short: "Delete all VMs that don't run",
		Long: `List the VMs that don't run, ask, and move them to the trash. A VM that runs, or
that is started meanwhile, is never deleted. Without a terminal to ask on, -f is
needed.`,
		Example: `  banger vm prune
  banger vm prune --dry-run
  banger vm prune -f`,
		Args: args(0, 0, "nothing"),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.prune(cmd.Context(), o) },
	}
	cmd.Flags().BoolVarP(&o.force, "force", "f", false, "don't ask")
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "only list them")
	cmd.Flags().BoolVarP(&o.quiet, "quiet", "q", false, "no progress and no notices")
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return cmd
}

func (a *app) prune(ctx context.Context, o pruneOptions) error {
	c, err := a.connect(ctx)
	if err != nil {
		return err
	}
	would, err := c.PruneVMs(ctx, api.Prune{DryRun: true}, nil)
	if err != nil {
		return err
	}
	if o.dryRun || len(would.VMs) == 0 {
		if !o.quiet && len(would.VMs) == 0 {
			a.note("no VM is stopped: there is nothing to delete")
		}
		return a.writePruned(would, o.json)
	}
	if !o.force {
		if err := a.askToPrune(ctx, would.VMs); err != nil {
			return err
		}
	}
	var ids []vm.ID
	for _, v := range would.VMs {
		ids = append(ids, v.ID)
	}
	show := a.display(o.quiet, false)
	done, err := c.PruneVMs(ctx, api.Prune{IDs: ids}, each(show))
	show.close()
	if err != nil {
		return err
	}
	if err := a.writePruned(done, o.json); err != nil {
		return err
	}
	if !o.quiet && !o.json && len(done.VMs) > 0 && done.TrashBytes > 0 {
		a.noteTrashBytes(done.TrashBytes)
	}
	return nil
}

func (a *app) writePruned(p api.Pruned, asJSON bool) error {
	if asJSON {
		p.VMs = append([]api.VM{}, p.VMs...) // never null
		return a.json(p)
	}
	for _, v := range p.VMs {
		if err := a.write("%s\n", clean(v.Name)); err != nil {
			return err
		}
	}
	return nil
}

// errNotAsked says that nobody agreed to a deletion.
var errNotAsked = errors.New("nothing was deleted")

// askToPrune lists what would be deleted and returns nil if the user agrees.
func (a *app) askToPrune(ctx context.Context, list []api.VM) error {
	a.note("%s would be deleted:", count(len(list), "VM"))
	for _, v := range list {
		fmt.Fprintf(a.stderr, "  %s  %s, %s used\n", clean(v.Name), v.State, bytesText(v.DiskUsedBytes))
	}
	if !term.IsTerminal(int(a.stdin.Fd())) || !term.IsTerminal(int(a.stderr.Fd())) {
		return hint.Add(usagef("%w: there is no terminal to ask on", errNotAsked), "banger vm prune -f deletes without asking")
	}
	fmt.Fprintf(a.stderr, "Delete %s? [y/N] ", map[bool]string{true: "it", false: "them"}[len(list) == 1])
	yes, err := a.readYes(ctx)
	if err == nil && !yes {
		err = errNotAsked
	}
	return err
}

// readYes reads a line from stdin and reports whether it is a yes. A read that
// nobody answers ends with the program.
func (a *app) readYes(ctx context.Context) (bool, error) {
	type answer struct {
		line string
		err  error
	}
	got := make(chan answer, 1)
	go func() { // ends with the line, or the program
		line, err := bufio.NewReader(io.LimitReader(a.stdin, 1<<10)).ReadString('\n')
		got <- answer{line, err}
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(a.stderr)
		return false, ctx.Err()
	case g := <-got:
		if g.err != nil {
			fmt.Fprintln(a.stderr)
		}
		s := strings.ToLower(strings.TrimSpace(g.line))
		return s == "y" || s == "yes", nil
	}
}

// count is a number of things, with the plural's s.
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
