package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"banger/internal/pager"
	"banger/internal/workspace"
)

func (a *app) vmWorkspaceDiff() *cobra.Command {
	var (
		f             outFlags
		stat, commits bool
	)
	cmd := &cobra.Command{
		Use:   "diff [flags] VM [-- PATH…]",
		Short: "Show what was changed in a VM",
		Long: `Show what was changed in a VM's workspace since it went in, in your pager. Files that
could run on this host come first, by name. On a terminal, control characters of the
guest's are shown as escapes. VM may be the name of a saved work.

PATH names a file or directory, as it is spelled, without patterns: relative to this
directory if that is in the work tree, else to the root.`,
		Example: `  banger vm workspace diff dev
  banger vm workspace diff dev --stat
  banger vm workspace diff dev -- src`,
		ValidArgsFunction: a.names(1),
		Args:              args(1, -1, "a VM, or a saved work"),
		RunE: func(cmd *cobra.Command, refs []string) error {
			if stat && commits {
				return usagef("--stat and --commits exclude each other")
			}
			ctx := cmd.Context()
			show := a.display(f.quiet, false)
			defer show.close()
			parts, done, err := a.works(ctx, refs[0], f.guestPath, show)
			if err != nil {
				return err
			}
			defer done()
			show.close()
			var o workspace.PatchOptions
			if o.Paths, err = f.paths(ctx, parts[0], refs[1:]); err != nil {
				return err
			}
			if stat {
				o.Form = workspace.FormStat
			}
			write := func(w io.Writer) error {
				if commits {
					return writeCommits(ctx, w, parts)
				}
				if err := writeRisks(ctx, w, parts); err != nil {
					return err
				}
				return writePatch(ctx, w, parts, o)
			}
			if !term.IsTerminal(int(a.stdout.Fd())) {
				return write(a.stdout)
			}
			if !stat {
				o.Form = workspace.FormRead
			}
			return pager.Run(pager.Command(), a.stdout, func(w io.Writer) error {
				d := &diffWriter{w: w}
				if err := write(d); err != nil {
					return err
				}
				return d.Flush()
			})
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&stat, "stat", false, "a line a file, with the numbers of lines")
	cmd.Flags().BoolVar(&commits, "commits", false, "the guest's commits")
	return cmd
}

// writeCommits writes a line for each commit of the guest's; those of a submodule begin
// with its path.
func writeCommits(ctx context.Context, w io.Writer, parts []part) error {
	for _, p := range parts {
		var text bytes.Buffer
		if err := p.Commits(ctx, &text, p.work); err != nil {
			return err
		}
		for line := range strings.Lines(text.String()) {
			if p.at != "" {
				line = clean(p.at) + ": " + line
			}
			if _, err := io.WriteString(w, line); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeRisks names the files that could run on the host.
func writeRisks(ctx context.Context, w io.Writer, parts []part) error {
	any := false
	for _, p := range parts {
		risky, err := p.Risks(ctx, p.work)
		if err != nil {
			return err
		}
		for _, c := range risky {
			if !any {
				fmt.Fprintf(w, "Could run on this host:\n")
			}
			any = true
			fmt.Fprintf(w, "  %s   (%s)\n", clean(filepath.Join(p.at, string(c.Path))), c.Risk)
		}
	}
	if any {
		fmt.Fprintln(w)
	}
	return nil
}

// writePatch writes one difference of all parts. With paths, each is of the part in which
// it lies.
func writePatch(ctx context.Context, w io.Writer, parts []part, o workspace.PatchOptions) error {
	all := o.Paths
	for _, p := range parts {
		o.Prefix, o.Paths = p.at, p.paths(all)
		if len(all) > 0 && len(o.Paths) == 0 {
			continue
		}
		if err := p.Patch(ctx, w, p.work, o); err != nil {
			return err
		}
	}
	return nil
}

// diffWriter makes a patch fit for a terminal: each line is cleaned, and coloured by
// its first character.
type diffWriter struct {
	w    io.Writer
	line []byte
}

// maxDiffLine bounds what is kept of a line, in bytes; a longer one is broken.
const maxDiffLine = 64 << 10

func (d *diffWriter) Write(p []byte) (int, error) {
	written := len(p)
	for len(p) > 0 {
		n := bytes.IndexByte(p, '\n')
		if n < 0 && len(d.line)+len(p) < maxDiffLine {
			d.line = append(d.line, p...)
			break
		}
		if n < 0 {
			n = len(p) - 1
		}
		d.line = append(d.line, bytes.TrimSuffix(p[:n+1], []byte("\n"))...)
		p = p[n+1:]
		if err := d.Flush(); err != nil {
			return 0, err
		}
	}
	return written, nil
}

// Flush writes the line that has begun.
func (d *diffWriter) Flush() error {
	if d.line == nil {
		return nil
	}
	text := clean(string(d.line))
	d.line = nil
	for _, c := range diffColours {
		if len(text) >= len(c.begin) && text[:len(c.begin)] == c.begin {
			text = c.on + text + "\x1b[m"
			break
		}
	}
	_, err := io.WriteString(d.w, text+"\n")
	return err
}

// diffColours are those of git, by a line's beginning.
var diffColours = []struct{ begin, on string }{
	{"diff --git", "\x1b[1m"}, {"+++ ", "\x1b[1m"}, {"--- ", "\x1b[1m"},
	{"@@", "\x1b[36m"}, {"+", "\x1b[32m"}, {"-", "\x1b[31m"},
}
