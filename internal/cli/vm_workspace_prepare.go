package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"banger/internal/api"
	"banger/internal/vm"
)

func (a *app) vmWorkspacePrepare() *cobra.Command {
	var (
		f                    workspaceFlags
		force, dryRun, quiet bool
	)
	cmd := &cobra.Command{
		Use:   "prepare [flags] VM [PATH]",
		Short: "Copy a git repository into a running VM",
		Long: `Copy the repository that PATH is in (default: the current directory) into a running
VM: the files that git tracks, as they are in the work tree, and a repository with
the last commit. Nothing of the host's configuration, hooks or credentials goes in.`,
		Example: `  banger vm workspace prepare dev
  banger vm workspace prepare dev ~/src/lib --guest-path /root/lib
  banger vm workspace prepare dev --include-untracked --dry-run`,
		Args: args(1, 2, "a VM, and the path of a repository"),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return nil, cobra.ShellCompDirectiveFilterDirs
			}
			return a.names(1, vm.Running)(cmd, args, typed)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return err
			}
			path := "."
			if len(args) == 2 {
				path = args[1]
			}
			ctx := cmd.Context()
			show := a.display(quiet, false)
			defer show.close()
			if dryRun {
				return a.dryRun(ctx, &f, path, show)
			}
			client, err := a.connect(ctx)
			if err != nil {
				return err
			}
			where, err := client.VMSession(ctx, args[0])
			if err != nil {
				return err
			}
			staging, err := stagingDir()
			if err != nil {
				return err
			}
			c, err := a.openCopy(ctx, &f, path, staging, show)
			if err != nil {
				return err
			}
			defer c.close()
			c.force = force
			c.say()
			if err := c.ask(ctx); err != nil {
				return err
			}
			if err := c.makeRoom(ctx, client, where); err != nil {
				return err
			}
			_, err = c.into(ctx, client, where)
			return err
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&force, "force", false, "replace what is in the guest's PATH, though it was edited")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print what would go in, and copy nothing; it needs no VM")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "no progress and no notices")
	return cmd
}

// dryRun prints the files that would go in, with their sizes in bytes.
func (a *app) dryRun(ctx context.Context, f *workspaceFlags, path string, show display) error {
	scratch, err := os.MkdirTemp("", "banger-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	c, err := a.openCopy(ctx, f, path, scratch, show)
	if err != nil {
		return err
	}
	defer c.close()
	c.say()
	for _, p := range c.plan.All() {
		for _, file := range p.Files {
			if err := a.write("%10d  %s\n", file.Size, clean(filepath.Join(p.At, string(file.Path)))); err != nil {
				return err
			}
		}
	}
	files, bytes := c.size()
	show.event("", api.Event{Notice: fmt.Sprintf("%s, %s would go in", count(files, "file"), bytesText(bytes))})
	return nil
}
