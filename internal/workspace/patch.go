package workspace

import (
	"context"
	"fmt"
	"io"
	"path"
	"strings"
)

// Form is how a difference is written.
type Form string

// Forms of a difference.
const (
	FormPatch Form = "patch" // for plain git apply
	FormRead  Form = "read"  // for a reader: of binary files it says that they differ
	FormStat  Form = "stat"  // a line a file, with what was added and removed
	FormNames Form = "names" // a path a line
)

// PatchOptions say which difference is meant.
type PatchOptions struct {
	// Base is the commit since which: a commit that the store has, by id or unique
	// prefix; "HEAD" is the guest's HEAD; "" is what went in.
	Base string
	Form Form
	// Prefix is a directory that stands before each path: where a submodule is.
	Prefix string
	// Paths are the files and directories that are meant; none means all.
	Paths []string
}

// Patch writes the difference between a base and the work. Its bytes depend on
// nothing but these two.
func (s Store) Patch(ctx context.Context, out io.Writer, w Work, o PatchOptions) error {
	i, err := s.Info()
	if err != nil {
		return err
	}
	base := i.Base
	var large []large
	switch {
	case o.Base == "HEAD" && w.Head != "":
		base = w.Head
	case o.Base != "":
		base, err = s.git().Line(ctx, nil, "rev-parse", "-q", "--verify", "--end-of-options", o.Base+"^{commit}")
		if err != nil {
			return fmt.Errorf("%.80q names no commit that came out of the workspace", o.Base)
		}
	}
	args := []string{
		"-c", "diff.renameLimit=1000", "-c", "diff.suppressBlankEmpty=false", "-c", "core.attributesFile=/dev/null",
		"diff-tree", "-r", "-M", "--no-ext-diff", "--no-textconv", "--no-color",
		"--src-prefix=" + path.Join("a", o.Prefix) + "/", "--dst-prefix=" + path.Join("b", o.Prefix) + "/",
		"--diff-algorithm=myers", "--no-indent-heuristic",
	}
	switch o.Form {
	case FormStat:
		args = append(args, "--stat=120")
	case FormNames:
		args = append(args, "--name-only")
	default:
		args = append(args, "-p", "--unified=3", "--full-index")
	}
	var pathspecs []string
	for _, p := range o.Paths {
		pathspecs = append(pathspecs, ":(literal)"+p)
	}
	if o.Form != FormStat && o.Form != FormNames {
		if large, err = s.largeChanges(ctx, base, w.Tree, pathspecs); err != nil {
			return err
		}
		if o.Form != FormRead {
			args = append(args, "--binary")
		}
		if o.Prefix != "" {
			args = append(args, "--no-renames") // git names both paths without the prefix
		}
	}
	for _, c := range large {
		pathspecs = append(pathspecs, ":(exclude,literal)"+c.old.path)
		if c.new.path != c.old.path {
			pathspecs = append(pathspecs, ":(exclude,literal)"+c.new.path)
		}
	}
	args = append(append(args, base, w.Tree, "--"), pathspecs...)
	if o.Prefix != "" && (o.Form == FormStat || o.Form == FormNames) {
		list, err := s.git().Run(ctx, nil, args...)
		if err != nil {
			return err
		}
		_, err = io.WriteString(out, prefixed(string(list), o.Prefix+"/"))
		return err
	}
	if err := s.git().Stream(ctx, nil, out, args...); err != nil {
		return err
	}
	for _, c := range large {
		if err := s.writeLarge(ctx, out, c, o.Prefix, o.Form); err != nil {
			return err
		}
	}
	return nil
}

// prefixed puts a prefix before the path of each line of --stat or --name-only, which git
// has for patches alone.
func prefixed(list, prefix string) string {
	var b strings.Builder
	for line := range strings.Lines(list) {
		blank, quote := "", ""
		if rest, found := strings.CutPrefix(line, " "); found {
			if !strings.Contains(rest, " | ") { // the sum
				b.WriteString(line)
				continue
			}
			blank, line = " ", rest
		}
		if rest, found := strings.CutPrefix(line, `"`); found {
			quote, line = `"`, rest
		}
		b.WriteString(blank + quote + prefix + line)
	}
	return b.String()
}

// Commits writes a line for each of the guest's commits, the newest first.
func (s Store) Commits(ctx context.Context, out io.Writer, w Work) error {
	i, err := s.Info()
	if err != nil {
		return err
	}
	args := []string{"log", "--no-show-signature", "--no-color", "--format=%h %an, %ad: %s", "--date=iso"}
	return s.git().Stream(ctx, nil, out, append(args, newCommits(i, w)...)...)
}

// Risks returns the changes of a work that could run on the host.
func (s Store) Risks(ctx context.Context, w Work) (risky []Change, err error) {
	i, err := s.Info()
	if err != nil {
		return nil, err
	}
	all, err := changes(ctx, s.git(), i.Tree, w.Tree)
	for _, c := range all {
		if c.Risk != "" {
			risky = append(risky, c)
		}
	}
	return risky, err
}
