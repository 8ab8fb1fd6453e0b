package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/term"

	"banger/internal/api"
	"banger/internal/hint"
	"banger/internal/workspace"
)

// apply applies the work in a repository and in its submodules, each by itself. All are
// looked at before the first is changed.
func (a *app) apply(ctx context.Context, f applyFlags, ref string, typed []string, show display) error {
	parts, done, err := a.works(ctx, ref, f.guestPath, show)
	if err != nil {
		return err
	}
	defer done()
	o := workspace.MergeOptions{
		Name: parts[0].VM.Name, Markers: f.onConflict == conflictMarkers, Index: f.index, Commit: f.commit, Message: strings.Join(f.message, "\n\n"),
	}
	if o.Scratch, err = stagingDir(); err != nil {
		return err
	}
	var jobs []applyJob
	var chosen []string
	for _, p := range parts {
		if p.at != "" && !p.changed() {
			continue
		}
		j := applyJob{part: p, o: o}
		if j.r, err = f.repository(ctx, p); err != nil {
			return err
		}
		if _, err := a.takeUp(ctx, j.r, show); err != nil {
			return err
		}
		if len(jobs) == 0 {
			if chosen, err = pathsIn(j.r, typed); err != nil {
				return err
			}
		} else {
			j.undo = " --repo " + j.r.Root
		}
		if j.o.Paths = p.paths(chosen); len(chosen) == 0 || len(j.o.Paths) > 0 {
			jobs = append(jobs, j)
		}
	}
	if jobs, err = a.choosePaths(ctx, jobs, chosen); err != nil {
		return err
	}
	if len(jobs) > 1 {
		for _, j := range jobs {
			if err := j.refused(ctx); err != nil {
				return err
			}
		}
	}
	var marked []workspace.Marked
	for _, j := range jobs {
		left, err := a.applyPart(ctx, j, f, show)
		if err != nil {
			return errors.Join(err, conflictsLeft(marked))
		}
		for _, k := range left {
			k.Path = []byte(filepath.Join(j.at, string(k.Path)))
			marked = append(marked, k)
		}
	}
	return conflictsLeft(marked)
}

// applyJob is the apply of one part.
type applyJob struct {
	part
	r    *workspace.Repository
	o    workspace.MergeOptions
	undo string // the flag that --undo needs
}

// choosePaths takes from each of several jobs the paths that name no change in it, and
// leaves out the jobs that have none left. A path without a change in any is refused.
func (a *app) choosePaths(ctx context.Context, jobs []applyJob, chosen []string) (left []applyJob, err error) {
	if len(chosen) == 0 || len(jobs) == 1 {
		return jobs, nil
	}
	found := map[string]bool{}
	for _, j := range jobs {
		m, err := workspace.NewMerge(ctx, j.r, j.Store, j.work, j.o)
		if err != nil {
			return nil, err
		}
		m.Close()
		j.o.Paths = slices.DeleteFunc(j.o.Paths, func(p string) bool { return slices.Contains(m.NoChange, p) })
		for _, c := range chosen {
			for _, p := range j.paths([]string{c}) {
				found[c] = found[c] || slices.Contains(j.o.Paths, p)
			}
		}
		if len(j.o.Paths) > 0 {
			left = append(left, j)
		}
	}
	chosen = slices.DeleteFunc(slices.Clone(chosen), func(c string) bool { return found[c] })
	if len(chosen) == 0 {
		return left, nil
	}
	return nil, noChange(chosen, jobs[0].o)
}

func noChange(paths []string, o workspace.MergeOptions) error {
	return hint.Add(&workspace.NoChangeError{Paths: paths},
		"banger diff "+o.Name+" --stat shows what was changed; paths are relative to this directory if it is in the work tree, else to the root")
}

// refused says why the part can't be applied.
func (j applyJob) refused(ctx context.Context) error {
	m, err := workspace.NewMerge(ctx, j.r, j.Store, j.work, j.o)
	if err != nil {
		return err
	}
	defer m.Close()
	return j.refusal(m)
}

// refusal says why a merge can't be applied, and what to do.
func (j applyJob) refusal(m *workspace.Merge) error {
	err := m.Refused()
	switch {
	case err == nil:
		return nil
	case len(m.NoChange) > 0:
		return noChange(m.NoChange, j.o)
	}
	if j.at != "" {
		err = fmt.Errorf("in %s: %w", clean(j.at), err)
	}
	return hint.Add(fmt.Errorf("nothing was changed: %w", err), refusedHint(m, j.o))
}

// applyPart merges the work in one repository into it. It returns the files that have
// conflict markers now.
func (a *app) applyPart(ctx context.Context, j applyJob, f applyFlags, show display) ([]workspace.Marked, error) {
	for try := 1; ; try++ {
		marked, err := a.applyOnce(ctx, j, f, show)
		var changed *workspace.ChangedError
		if !errors.As(err, &changed) || try == readTries {
			return marked, err
		}
		f.yes = true // it was asked
		show.event("", api.Event{Notice: clean(fmt.Sprintf("%v: merging again", changed))})
	}
}

func (a *app) applyOnce(ctx context.Context, j applyJob, f applyFlags, show display) ([]workspace.Marked, error) {
	m, err := workspace.NewMerge(ctx, j.r, j.Store, j.work, j.o)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	show.close()
	if err := j.refusal(m); err != nil {
		return nil, err
	}
	if m.IsEmpty() {
		what := "the work tree has all of it already"
		if m.Reverted {
			what = "all of it was applied before, and what you changed since then stays; banger apply --undo" + j.undo + " lets it be applied again"
		}
		if f.commit {
			what += ": there is nothing to commit"
		}
		show.event("", api.Event{Notice: what})
		if f.check {
			return nil, nil
		}
		return nil, m.Apply(ctx)
	}
	risky := 0
	for _, c := range m.Changes {
		if c.Risk != "" {
			risky++
		}
	}
	if risky > 0 && !f.check {
		a.note("%s could run on this host:", count(risky, "file"))
	}
	marked := map[string]int{}
	for _, k := range m.Marked {
		marked[string(k.Path)] = k.Conflicts
	}
	for _, c := range m.Changes {
		if f.check || c.Risk != "" {
			conflicts := marked[string(c.Path)]
			c.Path = []byte(filepath.Join(j.at, string(c.Path)))
			if err := a.writeChange(c, conflicts, f.check); err != nil {
				return nil, err
			}
		}
	}
	if f.check {
		return nil, nil
	}
	if risky > 0 && !f.yes {
		if err := a.askToApply(ctx); err != nil {
			return nil, err
		}
	}
	if err := m.Apply(ctx); err != nil {
		if errors.Is(err, workspace.ErrIndexLocked) {
			return nil, fmt.Errorf("nothing was changed: %w", err)
		}
		return nil, err
	}
	if n := len(m.Pointers); n > 0 {
		show.event("", api.Event{Notice: clean(fmt.Sprintf("%s written as pointer, without content, which is not to be had, or git here has no filter.lfs: %s",
			count(n, "LFS file"), some(m.Pointers)))})
	}
	if n := len(m.Changes); n > 0 {
		show.event("", api.Event{Notice: fmt.Sprintf("%s changed in %s; banger apply --undo%s takes it back", count(n, "file"), clean(j.r.Root), j.undo)})
	}
	if id := m.Commit(); id != "" {
		signed := ""
		if m.Unsigned {
			signed = ", not signed though commit.gpgsign is set"
		}
		show.event("", api.Event{Notice: fmt.Sprintf("committed as %.12s%s", id, signed)})
	} else if f.commit {
		show.event("", api.Event{Notice: "nothing was committed: HEAD has all of it that can be in a commit"})
	}
	return m.Marked, nil
}

// refusedHint is what to do about a merge that can't be applied.
func refusedHint(m *workspace.Merge, o workspace.MergeOptions) string {
	byGit := fmt.Sprintf("banger vm workspace fetch %s and merge refs/banger/%s/work with git", o.Name, o.Name)
	switch {
	case len(m.Conflicts) > 0 && m.Markable && !o.Commit:
		return "--on-conflict markers writes them with conflict markers; or " + byGit
	case len(m.Conflicts) > 0:
		return "move them away, or " + byGit
	case len(m.Dirty) > 0:
		return "git add stages what you have there; or leave --index and --commit out"
	}
	return "commit your edits first, or leave --commit out; or " + byGit
}

// conflictsLeft is the error that says which files have conflict markers now.
func conflictsLeft(marked []workspace.Marked) error {
	if len(marked) == 0 {
		return nil
	}
	total := 0
	var names [][]byte
	for _, k := range marked {
		total += k.Conflicts
		names = append(names, k.Path)
	}
	return hint.Add(fmt.Errorf("%s left in %s: %s", count(total, "conflict"), count(len(marked), "file"), some(names)),
		"edit the lines between <<<<<<< and >>>>>>>; banger apply --undo takes all of it back")
}

// writeChange prints a change: to stdout if it is what was asked for, else to
// stderr, as part of a question.
func (a *app) writeChange(c workspace.Change, conflicts int, asked bool) error {
	what := "M"
	switch {
	case conflicts > 0:
		what = "C"
	case c.OldMode == 0:
		what = "A"
	case c.NewMode == 0:
		what = "D"
	}
	line := what + " " + clean(string(c.Path))
	if conflicts > 0 {
		line += "   (" + count(conflicts, "conflict") + ")"
	}
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
