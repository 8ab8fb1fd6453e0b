package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"banger/internal/api"
	"banger/internal/hint"
	"banger/internal/workspace"
)

// applyFlags say what of a work is applied, and where it goes.
type applyFlags struct {
	outFlags
	check, yes, undo, index, commit bool
	onConflict                      string
	message                         []string
}

// Values of --on-conflict.
const (
	conflictStop    = "stop"
	conflictMarkers = "markers"
)

// verify refuses flags that can't be meant together.
func (f *applyFlags) verify(cmd *cobra.Command) error {
	switch {
	case f.onConflict != conflictStop && f.onConflict != conflictMarkers:
		return usagef("--on-conflict is %s or %s, not %q", conflictStop, conflictMarkers, f.onConflict)
	case f.undo && (f.check || f.index || f.commit || cmd.Flags().Changed("on-conflict")):
		return usagef("--undo takes back what was done, with the index and the commit: it goes with no other choice")
	case f.index && f.commit:
		return usagef("--commit stages what it commits: leave --index out")
	case f.commit && f.onConflict == conflictMarkers:
		return usagef("--commit and --on-conflict %s exclude each other: a commit has no conflicts", conflictMarkers)
	case len(f.message) > 0 && !f.commit:
		return usagef("--message is for --commit")
	case len(f.message) > 0 && strings.TrimSpace(strings.Join(f.message, "")) == "":
		return usagef("--message is empty")
	}
	return nil
}

func (a *app) vmWorkspaceApply() *cobra.Command {
	var f applyFlags
	cmd := &cobra.Command{
		Use:   "apply [flags] VM [-- PATH…]",
		Short: "Merge a VM's changes into the repository",
		Long: `Merge what was changed in a VM's workspace into the work tree that went in: all files
or none. What you changed meanwhile is merged, and a file that both sides changed in
the same place stops it before anything is written. The index, branches and settings
stay as they are. --undo takes the last apply back, with all that it did.

PATH names a file or directory, as it is spelled, without patterns: relative to this
directory if that is in the work tree, else to the root. The rest can be applied
later.

--on-conflict markers writes conflict markers into text files that both sides
changed; what they can't show (binary files, links, a file that one side removed,
files in the way that git does not track) still stops it. Exit status 125 says that
conflicts are left.

--index stages what was changed, too. A file that the index has otherwise than the
work tree stops it. --commit also commits it, on the current branch: what the VM
changed, merged with HEAD, without any edit of yours. No hook runs, and the commit is
not signed. Ignored files that went in are written as files, but neither staged nor
committed.

Before anything is written, the files are named that could run on this host: hooks,
settings of editors and agents, CI, executables, links. VM may be the name of a
saved work.`,
		Example: `  banger vm workspace apply dev --check
  banger vm workspace apply dev
  banger vm workspace apply dev -- src README.md
  banger vm workspace apply dev --commit -m "Fix the parser"
  banger vm workspace apply --undo`,
		Args: func(cmd *cobra.Command, got []string) error {
			if f.undo {
				return args(0, 0, "nothing")(cmd, got)
			}
			return args(1, -1, "a VM, or a saved work")(cmd, got)
		},
		ValidArgsFunction: a.names(1),
		RunE: func(cmd *cobra.Command, refs []string) error {
			if err := f.verify(cmd); err != nil {
				return err
			}
			ctx := cmd.Context()
			show := a.display(f.quiet, false)
			defer show.close()
			if f.undo {
				return a.undoApply(ctx, f.outFlags, show)
			}
			return a.apply(ctx, f, refs[0], refs[1:], show)
		},
	}
	f.add(cmd)
	fs := cmd.Flags()
	fs.BoolVar(&f.check, "check", false, "only say what would be changed, and what is in the way")
	fs.BoolVar(&f.index, "index", false, "stage what was changed, too")
	fs.BoolVar(&f.commit, "commit", false, "stage and commit what was changed")
	fs.StringArrayVarP(&f.message, "message", "m", nil, "`TEXT` is the commit's message; given again, a paragraph more (default: the VM and its commits)")
	fs.StringVar(&f.onConflict, "on-conflict", conflictStop, "`HOW` a file that both sides changed is dealt with: stop, or markers")
	fs.BoolVar(&f.undo, "undo", false, "take back the last apply in the repository (default: the one that this directory is in)")
	fs.BoolVarP(&f.yes, "yes", "y", false, "don't ask about files that could run on this host")
	cmd.RegisterFlagCompletionFunc("on-conflict", cobra.FixedCompletions([]string{conflictStop, conflictMarkers}, cobra.ShellCompDirectiveNoFileComp))
	cmd.RegisterFlagCompletionFunc("message", nothing)
	return cmd
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
	if was, err := a.takeUp(ctx, r, show); was || err != nil {
		return err // it was the last apply
	}
	n, err := workspace.Undo(ctx, r)
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

// takeUp takes back an apply that was cut in a repository, says so, and reports whether
// there was one.
func (a *app) takeUp(ctx context.Context, r *workspace.Repository, show display) (bool, error) {
	done, err := workspace.Recover(ctx, r)
	if errors.Is(err, workspace.ErrApplying) {
		return false, err
	}
	if err != nil {
		return false, fmt.Errorf("take back an apply that was cut in %q: %w", r.Root, err)
	}
	if done.Cut {
		said := "an apply that was cut has been taken back in " + strconv.Quote(r.Root)
		if len(done.Edited) > 0 {
			said += "; " + done.String()
		}
		show.event("", api.Event{Notice: said})
	}
	return done.Cut, nil
}
