package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"banger/internal/api"
	"banger/internal/durable"
	"banger/internal/workspace"
)

func (a *app) vmWorkspaceExport() *cobra.Command {
	var (
		output, guestPath string
		o                 workspace.PatchOptions
		stat, names, json bool
		quiet             bool
	)
	cmd := &cobra.Command{
		Use:   "export [flags] VM",
		Short: "Print a VM's changes as a patch",
		Long: `Print all that was changed in a VM's workspace since it went in, as a patch for
git apply: commits, staged and other edits, new, deleted and renamed files, modes
and links. Files that git ignores in the guest are not in it, and of LFS files only
the pointers: banger vm workspace fetch brings their contents. The tree that the
patch makes has been built on this host and compared with the guest's. On a terminal,
control characters are shown as escapes.`,
		Example: `  banger vm workspace export dev | git apply
  banger vm workspace export dev -o dev.patch
  banger vm workspace export dev --base-commit HEAD    what is not committed
  banger vm workspace export dev --stat`,
		Args:              args(1, 1, "a VM"),
		ValidArgsFunction: a.names(1),
		RunE: func(cmd *cobra.Command, refs []string) error {
			switch {
			case stat && names, stat && json, names && json:
				return usagef("--stat, --name-only and --json exclude each other")
			case stat:
				o.Form = workspace.FormStat
			case names:
				o.Form = workspace.FormNames
			}
			ctx := cmd.Context()
			show := a.display(quiet, false)
			defer show.close()
			parts, done, err := a.works(ctx, refs[0], guestPath, show)
			if err != nil {
				return err
			}
			defer done()
			if json {
				text, err := jsonText(exported(parts))
				if err != nil {
					return err
				}
				return a.toFile(output, func(w io.Writer) error {
					_, err := io.WriteString(w, text)
					return err
				})
			}
			if o.Base != "" && o.Base != "HEAD" {
				parts = parts[:1] // a commit of the repository's own
			}
			show.close()
			err = a.toFile(output, func(w io.Writer) error { return writePatch(ctx, w, parts, o) })
			ignored := 0
			for _, p := range parts {
				ignored += p.work.Ignored
			}
			if err == nil && ignored > 0 && o.Form == "" {
				show.event("", api.Event{Notice: fmt.Sprintf("%s that git ignores in the guest: not in the patch", count(ignored, "file"))})
			}
			return err
		},
	}
	fs := cmd.Flags()
	fs.StringVarP(&output, "output", "o", "", "write to `FILE`")
	fs.StringVar(&guestPath, "guest-path", "", "the workspace at this `PATH`, if the VM has several")
	fs.StringVar(&o.Base, "base-commit", "", "what came after this `COMMIT` of the guest's; HEAD is what is not committed")
	fs.BoolVar(&stat, "stat", false, "a line a file, with the numbers of lines")
	fs.BoolVar(&names, "name-only", false, "paths only")
	fs.BoolVar(&json, "json", false, "base, tree and numbers as JSON")
	fs.BoolVarP(&quiet, "quiet", "q", false, "no progress and no notices")
	cmd.RegisterFlagCompletionFunc("guest-path", nothing)
	cmd.RegisterFlagCompletionFunc("base-commit", nothing)
	return cmd
}

// exportedWork is a work as JSON.
type exportedWork struct {
	workspace.Info
	Work       workspace.Work `json:"work"`
	Submodules []exportedWork `json:"submodule_works,omitempty"`
}

func exported(parts []part) exportedWork {
	out := exportedWork{Info: parts[0].Info, Work: parts[0].work}
	for _, p := range parts[1:] {
		out.Submodules = append(out.Submodules, exportedWork{Info: p.Info, Work: p.work})
	}
	return out
}

// toFile has write write to path, whole or not at all, or to stdout if path is "". A
// terminal gets control characters as escapes.
func (a *app) toFile(path string, write func(io.Writer) error) error {
	if path == "" || path == "-" {
		if !term.IsTerminal(int(a.stdout.Fd())) {
			return write(a.stdout)
		}
		c := &cleanWriter{w: a.stdout}
		return errors.Join(write(c), c.Flush())
	}
	if to, err := filepath.EvalSymlinks(path); err == nil { // a link stays one
		path = to
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().IsRegular() {
		return durable.Write(path, 0o666, write)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0) // a pipe, or a device: it is not replaced
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}
