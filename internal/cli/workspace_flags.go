package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"banger/internal/workspace"
)

// defaultGuestPath is where a repository goes in a guest, beneath root's home.
const defaultGuestPath = "repo"

// workspaceFlags say what of a repository goes in, and where.
type workspaceFlags struct {
	guestPath    string
	gitDir       string
	mode         string
	branch, from string
	untracked    bool
	include      []string
	includeFrom  string
	yes          bool
}

func (f *workspaceFlags) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.guestPath, "guest-path", "", "`PATH` in the guest for the repository (default: /root/repo)")
	fs.StringVar(&f.gitDir, "git-dir", "", "the repository's git directory `DIR`, if it does not name its work tree")
	fs.BoolVar(&f.untracked, "include-untracked", false, "take in the files that git neither tracks nor ignores, too")
	fs.StringArrayVar(&f.include, "include", nil, "take in the ignored files that `PATTERN` names, as in a .gitignore")
	fs.StringVar(&f.includeFrom, "include-from", "", "take in the ignored files that the patterns in `FILE` name")
	fs.StringVar(&f.mode, "mode", "overlay", "`MODE` overlay: what git tracks; full: every file but .git, and submodules, after a question")
	fs.StringVar(&f.branch, "branch", "", "the guest begins on a new branch `NAME`")
	fs.StringVar(&f.from, "from", "", "the tree of commit `REF` goes in, without your edits (needs --branch)")
	fs.BoolVarP(&f.yes, "yes", "y", false, "don't ask, with --mode full")
	cmd.RegisterFlagCompletionFunc("include", nothing)
	cmd.RegisterFlagCompletionFunc("branch", nothing)
	cmd.RegisterFlagCompletionFunc("from", nothing)
	cmd.RegisterFlagCompletionFunc("mode", cobra.FixedCompletions([]string{"overlay", "full"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.MarkFlagDirname("git-dir")
	cmd.RegisterFlagCompletionFunc("guest-path", nothing)
}

func (f *workspaceFlags) check() error {
	switch {
	case !slices.Contains([]string{"overlay", "full", "full_copy"}, f.mode):
		return fieldError("mode", fmt.Errorf("%q is neither overlay nor full", f.mode))
	case f.from != "" && f.branch == "":
		return usagef("--from needs --branch, the name of the guest's branch")
	case f.from != "" && (f.full() || f.untracked || len(f.include) > 0 || f.includeFrom != ""):
		return usagef("--from takes a commit's tree alone: no other files go in with it")
	}
	if f.guestPath == "" {
		return nil
	}
	if strings.ContainsFunc(f.guestPath, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0xfffd }) {
		return fieldError("guest-path", fmt.Errorf("%q has control characters, or is no UTF-8", f.guestPath))
	}
	if clean := filepath.Clean(f.guestPath); clean == "/" || clean == "." || clean == "/root" || strings.HasPrefix(clean, "..") {
		return fieldError("guest-path", fmt.Errorf("%q is no place for a repository alone", f.guestPath))
	}
	return nil
}

// full reports whether every file goes in.
func (f *workspaceFlags) full() bool { return f.mode != "overlay" }

// options are what a plan is made with.
func (f *workspaceFlags) options(scratch string) (workspace.Options, error) {
	o := workspace.Options{Scratch: scratch, IncludeUntracked: f.untracked, Include: slices.Clone(f.include), All: f.full(), From: f.from, NewBranch: f.branch}
	if f.full() {
		o.Submodules = workspace.TakeSubmodules
	}
	if f.includeFrom != "" {
		text, err := os.ReadFile(f.includeFrom)
		if err != nil {
			return o, err
		}
		o.Include = append(o.Include, strings.Split(string(text), "\n")...)
	}
	return o, nil
}

// open opens the repository that goes in.
func (f *workspaceFlags) open(ctx context.Context, path string) (*workspace.Repository, error) {
	r, err := workspace.Open(ctx, path, f.gitDir)
	if errors.Is(err, workspace.ErrNoRepository) && f.full() {
		return workspace.OpenPlain(ctx, path)
	}
	if err == nil && f.full() && workspace.IsTooMuch(r.Root) {
		return nil, fmt.Errorf("%q is the home directory, or holds it: it never goes in as a whole", r.Root)
	}
	return r, err
}
