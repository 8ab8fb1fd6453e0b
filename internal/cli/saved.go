package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"banger/internal/hint"
	"banger/internal/paths"
	"banger/internal/workspace"
)

// savedWork is a saved work as JSON.
type savedWork struct {
	ID string `json:"id"`
	workspace.Info
	Work workspace.Work `json:"work"`
	Dir  string         `json:"dir"`
	// UsedBytes is what it takes of the disk, with what went in.
	UsedBytes int64 `json:"used_bytes"`
}

func showSaved(s workspace.Saved) savedWork {
	used, _ := s.UsedBytes() // of one that is going away, what could be counted
	return savedWork{ID: s.ID(), Info: s.Info, Work: s.Work, Dir: s.Dir, UsedBytes: used}
}

func workDir() (string, error) {
	d, err := paths.Host()
	return d.Work(), err
}

func (a *app) savedList() *cobra.Command {
	var json, all bool
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the work that came out of VMs",
		Long: `List the work that was saved out of VMs' workspaces: at each stop, before each
deletion, and whenever it was asked for. It stays for 30 days after its VM is gone.
VMs with work that was not saved are named, with what saves it.`,
		Example: "  banger saved list\n  banger saved list --json",
		Args:    args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := workDir()
			if err != nil {
				return err
			}
			list, broken, err := workspace.List(dir)
			if err != nil {
				return err
			}
			for _, b := range broken {
				a.note("%s", clean(b.Error()))
			}
			out := []savedWork{}
			for _, s := range list {
				if all || s.Changed() {
					out = append(out, showSaved(s))
				}
			}
			if json {
				return a.json(out)
			}
			a.noteUnsaved(cmd.Context())
			err = a.table(func(w io.Writer) {
				fmt.Fprintln(w, "VM\tID\tSAVED\tCHANGES\tDISK\tREPOSITORY")
				for _, s := range out {
					fmt.Fprintf(w, "%s\t%s\t%s ago\t%s\t%s\t%s\n", clean(s.VM.Name), clean(s.ID), age(s.Work.At), changesText(s.Work), bytesText(s.UsedBytes), clean(s.Repository))
				}
			})
			if err != nil {
				return err
			}
			return a.noteSavedTotal(dir)
		},
	}
	cmd.Flags().BoolVar(&json, "json", false, "print JSON")
	cmd.Flags().BoolVarP(&all, "all", "a", false, "those too in which nothing was changed")
	return cmd
}

// noteSavedTotal says what all saved work takes, and may take.
func (a *app) noteSavedTotal(dir string) error {
	_, used, err := workspace.UsedBytes(dir, "")
	if err != nil {
		return err
	}
	c, _, err := configuration()
	if err != nil {
		return err
	}
	a.note("%s of %s are taken: what is listed, and what VMs' workspaces began with", bytesText(used), bytesText(c.Bounds().SavedTotal))
	return nil
}

// noteUnsaved names the VMs with work that was not saved, and what saves it. It starts
// no daemon: without one there is only what is saved.
func (a *app) noteUnsaved(ctx context.Context) {
	c, err := a.running()
	if err != nil {
		return
	}
	if list, err := c.ListVMs(ctx); err == nil {
		for _, v := range list {
			switch {
			case v.NotSaved == "":
			case v.State.Live():
				a.note("not saved: the work in VM %s; banger vm workspace export %s tries again: %s", v.Name, v.Name, clean(v.NotSaved))
			default:
				a.note("not saved: the work in VM %s; banger diff %s saves it, and shows it", v.Name, v.Name)
			}
		}
	}
	if list, err := c.ListTrash(ctx); err == nil {
		for _, e := range list {
			if e.NotSaved != "" {
				a.note("not saved: the work in the deleted VM %s; banger trash restore %s, then banger diff %s saves it, and shows it", e.Name, e.Name, e.Name)
			}
		}
	}
}

// changesText is what a work holds, in words.
func changesText(w workspace.Work) string {
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{{w.Commits, "commit"}, {w.Files, "file"}, {w.Stashes, "stashed change"}} {
		if p.n > 0 {
			parts = append(parts, count(p.n, p.what))
		}
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

func (a *app) savedShow() *cobra.Command {
	var json bool
	cmd := &cobra.Command{
		Use: "show [flags] SAVED", Short: "Show a saved work",
		Example:           "  banger saved show dev",
		Args:              args(1, 1, "the name of a VM, or the id of a saved work"),
		ValidArgsFunction: a.savedNames,
		RunE: func(cmd *cobra.Command, refs []string) error {
			list, err := findSaved(refs[0])
			if err != nil {
				return err
			}
			if json {
				return a.json(showSaved(list[0]))
			}
			for n, s := range list {
				if n > 0 {
					err = a.write("\n")
				}
				if err == nil {
					err = a.showSaved(cmd.Context(), s)
				}
				if err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&json, "json", false, "print JSON")
	return cmd
}

// showSaved prints a saved work, and a line for each file in which it has changes.
func (a *app) showSaved(ctx context.Context, s workspace.Saved) error {
	err := a.table(func(w io.Writer) {
		i := s.Info
		fmt.Fprintf(w, "vm\t%s\nid\t%s\nrepository\t%s\nguest path\t%s\n", clean(i.VM.Name), clean(s.ID()), clean(i.Repository), clean(i.VM.GuestPath))
		fmt.Fprintf(w, "base\t%.12s\nsaved\t%s\nchanges\t%s\ntree\t%s\n", i.Base, moment(s.Work.At), changesText(s.Work), s.Work.Tree)
	})
	if err != nil || !s.Changed() {
		return err
	}
	return s.Patch(ctx, a.stdout, s.Work, workspace.PatchOptions{Form: workspace.FormStat})
}

func (a *app) savedDrop() *cobra.Command {
	return &cobra.Command{
		Use: "drop SAVED…", Short: "Remove saved work for good",
		Long: `Remove saved work for good. What is still in a VM's disk stays there. The name of a VM
means the last work of each of its workspaces, an id only that one.`,
		Example:           "  banger saved drop dev",
		Args:              args(1, -1, "names of VMs, or ids of saved works"),
		ValidArgsFunction: a.savedNames,
		RunE: func(cmd *cobra.Command, refs []string) error {
			var errs []error
			for _, ref := range refs {
				list, err := findSaved(ref)
				errs = append(errs, err)
				for _, s := range list {
					errs = append(errs, s.Drop(cmd.Context()))
				}
			}
			return errors.Join(errs...)
		},
	}
}

// findSaved are the saved works that ref names, an outer one before those in it.
func findSaved(ref string) ([]workspace.Saved, error) {
	dir, err := workDir()
	if err != nil {
		return nil, err
	}
	list, err := workspace.FindAll(dir, ref)
	if errors.Is(err, workspace.ErrNotFound) {
		err = hint.Add(err, "banger saved list shows what there is")
	}
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b workspace.Saved) int { return strings.Compare(a.Info.VM.GuestPath, b.Info.VM.GuestPath) })
	return list, nil
}

// savedNames completes the names of saved work.
func (a *app) savedNames(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	dir, err := workDir()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	list, _, err := workspace.List(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, s := range list {
		names = append(names, s.Info.VM.Name, s.ID())
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
