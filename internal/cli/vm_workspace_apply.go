package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"banger/internal/api"
	"banger/internal/hint"
	"banger/internal/workspace"
)

func (a *app) vmWorkspaceApply() *cobra.Command {
	var (
		f                outFlags
		check, yes, undo bool
	)
	cmd := &cobra.Command{
		Use:   "apply [flags] VM",
		Short: "Merge a VM's changes into the repository",
		Long: `Merge all that was changed in a VM's workspace into the work tree that went in: all
files or none. What you changed meanwhile is merged, and a file that both sides
changed in the same place stops it before anything is written. The index, branches
and settings stay as they are. --undo takes the last apply back.

Before anything is written, the files are named that could run on this host: hooks,
settings of editors and agents, CI, executables, links. VM may be the name of a
saved work.`,
		Example: `  banger vm workspace apply dev --check
  banger vm workspace apply dev
  banger vm workspace apply --undo`,
		Args: func(cmd *cobra.Command, got []string) error {
			if undo {
				return args(0, 0, "nothing")(cmd, got)
			}
			return args(1, 1, "a VM, or a saved work")(cmd, got)
		},
		ValidArgsFunction: a.names(1),
		RunE: func(cmd *cobra.Command, refs []string) error {
			ctx := cmd.Context()
			show := a.display(f.quiet, false)
			defer show.close()
			if undo {
				return a.undoApply(ctx, f, show)
			}
			return a.apply(ctx, f, refs[0], check, yes, show)
		},
	}
	f.add(cmd)
	fs := cmd.Flags()
	fs.BoolVar(&check, "check", false, "only say what would be changed, and what is in the way")
	fs.BoolVar(&undo, "undo", false, "take back the last apply in the repository (default: the one that this directory is in)")
	fs.BoolVarP(&yes, "yes", "y", false, "don't ask about files that could run on this host")
	return cmd
}

func (a *app) apply(ctx context.Context, f outFlags, ref string, check, yes bool, show display) error {
	parts, done, err := a.works(ctx, ref, f.guestPath, show)
	if err != nil {
		return err
	}
	defer done()
	staging, err := stagingDir()
	if err != nil {
		return err
	}
	o := applyOptions{scratch: staging, check: check, yes: yes, vm: parts[0].VM.Name, show: show}
	if len(parts) > 1 && !check {
		if err := a.refuseConflicts(ctx, f, parts, o); err != nil {
			return err
		}
	}
	for _, p := range parts {
		if p.at != "" && !p.changed() {
			continue
		}
		if err := a.applyPart(ctx, f, p, o); err != nil {
			return err
		}
	}
	return nil
}

// refuseConflicts looks at all parts before the first is changed.
func (a *app) refuseConflicts(ctx context.Context, f outFlags, parts []part, o applyOptions) error {
	var conflicts []string
	for _, p := range parts {
		r, err := f.repository(ctx, p)
		if err != nil {
			return err
		}
		m, err := workspace.NewMerge(ctx, r, p.Store, p.work, o.scratch)
		if err != nil {
			return err
		}
		for _, name := range m.Conflicts {
			conflicts = append(conflicts, filepath.Join(p.at, name))
		}
		m.Close()
	}
	if len(conflicts) == 0 {
		return nil
	}
	return conflictError(conflicts, o.vm)
}

func conflictError(paths []string, vmName string) error {
	return hint.Add(fmt.Errorf("nothing was changed: %w", &workspace.ConflictError{Paths: paths}),
		fmt.Sprintf("move them away, or banger vm workspace fetch %s and merge refs/banger/%s/work with git", vmName, vmName))
}

// applyPart merges the work in one repository into it.
func (a *app) applyPart(ctx context.Context, f outFlags, p part, o applyOptions) error {
	r, err := f.repository(ctx, p)
	if err != nil {
		return err
	}
	if err := a.takeUp(r, o.show); err != nil {
		return err
	}
	if p.at != "" {
		o.undo = " --repo " + r.Root
	}
	for try := 1; ; try++ {
		o.yes = o.yes || try > 1
		err := a.applyOnce(ctx, p.Store, p.work, r, o)
		var changed *workspace.ChangedError
		if !errors.As(err, &changed) || try == readTries {
			return err
		}
		o.show.event("", api.Event{Notice: clean(fmt.Sprintf("%v: merging again", changed))})
	}
}

type applyOptions struct {
	scratch, vm string
	undo        string // the flag that --undo needs
	check, yes  bool
	show        display
}

func (a *app) applyOnce(ctx context.Context, s workspace.Store, w workspace.Work, r *workspace.Repository, o applyOptions) error {
	m, err := workspace.NewMerge(ctx, r, s, w, o.scratch)
	if err != nil {
		return err
	}
	defer m.Close()
	o.show.close()
	if len(m.Conflicts) > 0 {
		return conflictError(m.Conflicts, o.vm)
	}
	if len(m.Changes) == 0 {
		o.show.event("", api.Event{Notice: "the work tree has all of it already"})
		return nil
	}
	risky := 0
	for _, c := range m.Changes {
		if c.Risk != "" {
			risky++
		}
	}
	if risky > 0 && !o.check {
		a.note("%s could run on this host:", count(risky, "file"))
	}
	for _, c := range m.Changes {
		if o.check || c.Risk != "" {
			if err := a.writeChange(c, o.check); err != nil {
				return err
			}
		}
	}
	if o.check {
		return nil
	}
	if risky > 0 && !o.yes {
		if err := a.askToApply(ctx); err != nil {
			return err
		}
	}
	if err := m.Apply(ctx, o.vm); err != nil {
		return err
	}
	if n := len(m.Pointers); n > 0 {
		o.show.event("", api.Event{Notice: clean(fmt.Sprintf("%s written as pointer, without content, which is not to be had, or git here has no filter.lfs: %s",
			count(n, "LFS file"), some(m.Pointers)))})
	}
	o.show.event("", api.Event{Notice: fmt.Sprintf("%s changed in %s; banger apply --undo%s takes it back", count(len(m.Changes), "file"), clean(r.Root), o.undo)})
	return nil
}

// writeChange prints a change: to stdout if it is what was asked for, else to
// stderr, as part of a question.
func (a *app) writeChange(c workspace.Change, asked bool) error {
	what := "M"
	switch {
	case c.OldMode == 0:
		what = "A"
	case c.NewMode == 0:
		what = "D"
	}
	line := what + " " + clean(string(c.Path))
	if c.Risk != "" {
		line += "   (" + c.Risk + ")"
	}
	if asked {
		return a.write("%s\n", line)
	}
	_, err := fmt.Fprintf(a.stderr, "  %s\n", line)
	return err
}

// errNotApplied says that nobody agreed to an apply.
var errNotApplied = errors.New("nothing was changed")

func (a *app) askToApply(ctx context.Context) error {
	if !term.IsTerminal(int(a.stdin.Fd())) || !term.IsTerminal(int(a.stderr.Fd())) {
		return hint.Add(usagef("%w: there is no terminal to ask on", errNotApplied), "look at them with banger diff; --yes applies them without asking")
	}
	fmt.Fprint(a.stderr, "Apply? [y/N] ")
	yes, err := a.readYes(ctx)
	if err == nil && !yes {
		err = errNotApplied
	}
	return err
}

// undoApply takes back the last apply in a repository.
func (a *app) undoApply(ctx context.Context, f outFlags, show display) error {
	path := f.repo
	if path == "" {
		path = "."
	}
	r, err := workspace.Open(ctx, path, "")
	if err != nil {
		return err
	}
	n, err := workspace.Undo(r)
	var edited *workspace.EditedError
	switch {
	case errors.As(err, &edited):
		return hint.Add(fmt.Errorf("nothing was taken back: %w", err), "put those edits away first, as with git stash")
	case err != nil:
		return err
	}
	show.event("", api.Event{Notice: fmt.Sprintf("%s as before the apply", count(n, "file"))})
	return nil
}

// takeUp takes back an apply that was cut in a repository, and says so.
func (a *app) takeUp(r *workspace.Repository, show display) error {
	was, err := workspace.Recover(r)
	if errors.Is(err, workspace.ErrApplying) {
		return err
	}
	if err != nil {
		return fmt.Errorf("take back an apply that was cut in %q: %w", r.Root, err)
	}
	if was {
		show.event("", api.Event{Notice: "an apply that was cut has been taken back in " + strconv.Quote(r.Root)})
	}
	return nil
}
