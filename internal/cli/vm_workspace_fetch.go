package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"banger/internal/api"
	"banger/internal/hint"
	"banger/internal/workspace"
)

// outFlags say which work is meant, and which repository of the user's.
type outFlags struct {
	guestPath, repo string
	quiet           bool
}

func (f *outFlags) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.guestPath, "guest-path", "", "the workspace at this `PATH`, if the VM has several")
	fs.StringVar(&f.repo, "repo", "", "the repository at `DIR` (default: the one that went in)")
	fs.BoolVarP(&f.quiet, "quiet", "q", false, "no progress and no notices")
	cmd.MarkFlagDirname("repo")
	cmd.RegisterFlagCompletionFunc("guest-path", nothing)
}

// repository is the user's repository that a work goes into.
func (f *outFlags) repository(ctx context.Context, p part) (*workspace.Repository, error) {
	path := p.Repository
	if f.repo != "" {
		path = filepath.Join(f.repo, p.at)
	}
	r, err := workspace.Open(ctx, path, "")
	if errors.Is(err, workspace.ErrNoRepository) {
		return nil, hint.Add(err, "banger vm workspace export prints a patch; git init makes a repository of it")
	}
	if err != nil {
		return nil, hint.Add(fmt.Errorf("open the repository that the work came from: %w", err), "--repo DIR names it, if it was moved")
	}
	return r, nil
}

// paths are those that were typed, from the root of the user's repository. That one may
// have been moved, or be gone.
func (f *outFlags) paths(ctx context.Context, p part, typed []string) ([]string, error) {
	if len(typed) == 0 {
		return nil, nil
	}
	r, err := f.repository(ctx, p)
	if err != nil && f.repo != "" {
		return nil, err
	} else if err != nil {
		r = &workspace.Repository{Root: p.Repository}
	}
	return pathsIn(r, typed)
}

// pathsIn are paths that were typed in this directory, from the root of a repository.
func pathsIn(r *workspace.Repository, typed []string) ([]string, error) {
	cwd, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	paths, err := r.Paths(cwd, typed)
	if err != nil {
		return nil, usagef("%v", err)
	}
	return paths, nil
}

func (a *app) vmWorkspaceFetch() *cobra.Command {
	var (
		f  outFlags
		as string
	)
	cmd := &cobra.Command{
		Use:   "fetch [flags] VM",
		Short: "Bring a VM's commits into the repository",
		Long: `Bring the commits that were made in a VM's workspace into the repository that went
in, as refs/banger/VM/heads/*, with their ids, and all that is not committed as one
commit more, refs/banger/VM/work. No branch, file or setting of the repository
changes. The contents of new LFS files come along, into lfs/objects of the git
directory. --as makes a new branch of it. VM may be the name of a saved work.`,
		Example: `  banger vm workspace fetch dev
  git log refs/banger/dev/work
  banger vm workspace fetch dev --as from-dev`,
		Args:              args(1, 1, "a VM, or a saved work"),
		ValidArgsFunction: a.names(1),
		RunE: func(cmd *cobra.Command, refs []string) error {
			ctx := cmd.Context()
			show := a.display(f.quiet, false)
			defer show.close()
			parts, done, err := a.works(ctx, refs[0], f.guestPath, show)
			if err != nil {
				return err
			}
			defer done()
			staging, err := stagingDir()
			if err != nil {
				return err
			}
			var jobs []fetchJob
			for _, p := range parts {
				if p.at != "" && !p.changed() {
					continue
				}
				r, err := f.repository(ctx, p)
				if err != nil {
					return err
				}
				jobs = append(jobs, fetchJob{p, r, workspace.FetchOptions{Name: p.VM.Name, As: as, Scratch: staging}})
			}
			if len(jobs) > 1 { // nothing is written if one of them refuses
				for _, j := range jobs {
					if err := j.refusal(j.CheckFetch(ctx, j.r, j.work, j.o)); err != nil {
						return err
					}
				}
			}
			for _, j := range jobs {
				if err := a.fetch(ctx, j, show); err != nil {
					return err
				}
			}
			return nil
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&as, "as", "", "make a new branch `NAME` of it")
	cmd.RegisterFlagCompletionFunc("as", nothing)
	return cmd
}

// fetchJob is the fetch of one part.
type fetchJob struct {
	part
	r *workspace.Repository
	o workspace.FetchOptions
}

// refusal says where a fetch was refused, and what to do.
func (j fetchJob) refusal(err error) error {
	if err != nil && j.at != "" {
		err = fmt.Errorf("in %s: %w", clean(j.at), err)
	}
	if exists := (*workspace.BranchExistsError)(nil); errors.As(err, &exists) {
		return hint.Add(err, "choose another name: fetch touches no branch that is there")
	}
	return err
}

// fetch brings the work in one repository into it.
func (a *app) fetch(ctx context.Context, j fetchJob, show display) error {
	p := j.part
	got, err := p.Fetch(ctx, j.r, p.work, j.o)
	if err != nil {
		return j.refusal(err)
	}
	show.close()
	in := ""
	if p.at != "" {
		in = p.at + ": "
	}
	for _, name := range slices.Sorted(maps.Keys(got.Refs)) {
		if err := a.write("%s%.12s %s\n", clean(in), got.Refs[name], clean(name)); err != nil {
			return err
		}
	}
	if len(got.Old) > 0 {
		show.event("", api.Event{Notice: clean(in + "what was fetched before and is no longer reached: " + strings.Join(got.Old, ", "))})
	}
	if got.Objects > 0 {
		show.event("", api.Event{Notice: clean(in + "the content of " + count(got.Objects, "LFS file") + " came along, into lfs/objects of the git directory")})
	}
	if got.NoObjects != nil {
		show.event("", api.Event{Notice: clean(fmt.Sprintf("%sthe contents of LFS files did not come along, only their pointers: %v", in, got.NoObjects))})
	}
	if p.work.Lacking > 0 {
		show.event("", api.Event{Notice: clean(fmt.Sprintf("%sthe guest had no content of %s, only the pointer: %s", in, count(p.work.Lacking, "LFS file"), some(p.work.Lacks)))})
	}
	if got.Work {
		show.event("", api.Event{Notice: clean(in + "not all of it was committed: " + j.o.As + " is at a commit of the whole work tree")})
	}
	return nil
}
