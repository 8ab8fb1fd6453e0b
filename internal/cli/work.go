package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"banger/internal/api"
	"banger/internal/hint"
	"banger/internal/paths"
	"banger/internal/session"
	"banger/internal/vm"
	"banger/internal/workspace"
)

// part is the work in one repository: the one that is meant, or a submodule in it.
type part struct {
	workspace.Store
	workspace.Info
	work workspace.Work
	at   string // where in the repository that is meant it is; "" if it is that
}

// changed reports whether there is anything in it that did not go in.
func (p part) changed() bool { return p.work.Changed() }

// paths are those of all, from the outermost repository's root, that lie in the part or
// hold it, from its own root.
func (p part) paths(all []string) (paths []string) {
	for _, path := range all {
		path = filepath.Clean(path)
		switch rest := within(p.at, path); {
		case p.at == "", rest != "":
			paths = append(paths, strings.TrimPrefix(path, p.at+"/"))
		case p.at == path || path == "." || within(path, p.at) != "": // all of it
			paths = append(paths, ".")
		}
	}
	return paths
}

func newPart(s workspace.Store, w workspace.Work, at string) (part, error) {
	info, err := s.Info()
	return part{s, info, w, at}, err
}

// works brings out the work of a VM's workspace, and of its submodules after it: from
// the guest if the VM runs or was not saved, else what was saved. ref may name a saved
// work, whose VM may be gone. The caller calls done when it is through with it.
func (a *app) works(ctx context.Context, ref, guestPath string, show display) (parts []part, done func(), err error) {
	done = func() {}
	client, err := a.connect(ctx)
	if err != nil {
		return nil, done, err
	}
	v, err := client.ShowVM(ctx, ref)
	if isCode(err, api.CodeNotFound) {
		parts, serr := savedWorks(ref, guestPath)
		if errors.Is(serr, workspace.ErrNotFound) {
			return nil, done, err
		}
		return parts, done, serr
	}
	if err != nil {
		return nil, done, err
	}
	picked, err := pickWorkspaces(v, guestPath)
	if err != nil {
		return nil, done, err
	}
	if v.State == vm.Running || v.NotSaved != "" {
		now, err := client.SaveWork(ctx, string(v.ID), api.WorkspaceSave{GuestPaths: guestPaths(picked)}, each(show))
		if isCode(err, api.CodeNoSpace) && v.Session != nil {
			return a.worksInMemory(ctx, *v.Session, picked, err, show)
		}
		if err != nil {
			return nil, done, withEarlier(err, v, picked[0])
		}
		v = now
		if picked, err = pickWorkspaces(v, guestPath); err != nil {
			return nil, done, err
		}
	}
	for _, w := range picked {
		s := workspace.Store{Dir: w.Dir}
		work, err := s.Work()
		if errors.Is(err, workspace.ErrNoWork) {
			err = hint.Add(fmt.Errorf("VM %s is %s, and no saved work of %s is left", clean(v.Name), v.State, clean(w.GuestPath)),
				fmt.Sprintf("banger vm start %s, and then this again saves what is still in its disk", clean(v.Name)))
		}
		var p part
		if err == nil {
			p, err = newPart(s, work, within(picked[0].GuestPath, w.GuestPath))
		}
		if err != nil {
			return nil, done, err
		}
		parts = append(parts, p)
	}
	if v.State != vm.Running && !picked[0].Final {
		show.event("", api.Event{Notice: fmt.Sprintf("warning: %s ended before its last work was saved; this is its work at %s", clean(v.Name), moment(picked[0].SavedAt))})
	}
	return parts, done, nil
}

// withEarlier says how to get what was saved before, if a VM that does not run could not
// be asked.
func withEarlier(err error, v api.VM, w api.Workspace) error {
	if v.State == vm.Running || w.SavedAt.IsZero() {
		return err
	}
	text := fmt.Sprintf("%s in place of %s is its work at %s", filepath.Base(w.Dir), clean(v.Name), moment(w.SavedAt))
	var f *api.Fault
	if errors.As(err, &f) && f.Hint != "" {
		text = f.Hint + "; " + text
	}
	return hint.Add(err, text)
}

// savedWorks are those that ref names.
func savedWorks(ref, guestPath string) (parts []part, err error) {
	dir, err := workDir()
	if err != nil {
		return nil, err
	}
	list, err := workspace.FindAll(dir, ref)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, s := range list {
		paths = append(paths, s.Info.VM.GuestPath)
	}
	picked, err := pickPaths("the saved work of "+clean(ref), paths, guestPath)
	for _, n := range picked {
		parts = append(parts, part{list[n].Store, list[n].Info, list[n].Work, within(paths[picked[0]], paths[n])})
	}
	return parts, err
}

// pickWorkspaces is the workspace of v that guestPath names, or its only one, and those
// of its submodules after it.
func pickWorkspaces(v api.VM, guestPath string) (list []api.Workspace, err error) {
	if len(v.Workspaces) == 0 {
		return nil, fmt.Errorf("VM %s has no workspace: banger vm workspace prepare %s REPO makes one", clean(v.Name), clean(v.Name))
	}
	picked, err := pickPaths("VM "+clean(v.Name), guestPaths(v.Workspaces), guestPath)
	for _, n := range picked {
		list = append(list, v.Workspaces[n])
	}
	return list, err
}

func guestPaths(list []api.Workspace) (paths []string) {
	for _, w := range list {
		paths = append(paths, w.GuestPath)
	}
	return paths
}

// pickPaths picks the path that guestPath names, or the only one that is in no other,
// and those that are in it.
func pickPaths(what string, paths []string, guestPath string) (picked []int, err error) {
	var outer []string
	for _, p := range paths {
		if !slices.ContainsFunc(paths, func(o string) bool { return p != o && within(o, p) != "" }) {
			outer = append(outer, p)
		}
	}
	switch {
	case guestPath == "" && len(outer) == 1:
		guestPath = outer[0]
	case guestPath == "":
		return nil, usagef("%s has several workspaces: --guest-path with one of %s", what, clean(strings.Join(outer, ", ")))
	case !slices.Contains(paths, guestPath):
		return nil, usagef("%s has no workspace at %q: it has %s", what, guestPath, clean(strings.Join(paths, ", ")))
	}
	for n, p := range paths {
		if p == guestPath || within(guestPath, p) != "" {
			picked = append(picked, n)
		}
	}
	slices.SortStableFunc(picked, func(a, b int) int { return strings.Compare(paths[a], paths[b]) })
	return picked, nil
}

// within is where path lies in dir; "" if it does not, or is dir.
func within(dir, path string) string {
	rest, found := strings.CutPrefix(path, dir+"/")
	if !found {
		return ""
	}
	return rest
}

// maxInMemory bounds work that is taken into memory, in bytes.
const maxInMemory = 256 << 20

// worksInMemory brings a guest's work into memory, checked as any other, because it could
// not be saved. It is what the guest has now, for this command alone: done removes it.
func (a *app) worksInMemory(ctx context.Context, guest api.Session, from []api.Workspace, why error, show display) (parts []part, done func(), err error) {
	done = func() {}
	parent, err := memoryDir()
	if err != nil {
		return nil, done, errors.Join(why, err)
	}
	lease, err := workspace.NewLease(parent)
	if err != nil {
		return nil, done, errors.Join(why, err)
	}
	done = func() {
		lease.Close()
		os.Remove(parent) // unless another command has something there
	}
	ask := func(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
		return session.RunAgent(ctx, guest.Socket, args, in, out)
	}
	room := func() (int64, error) {
		used, err := workspace.Store{Dir: lease.Dir}.UsedBytes()
		return maxInMemory - used, err
	}
	for _, w := range from {
		s, err := workspace.Store{Dir: w.Dir}.Beside(ctx, lease.Dir)
		var work workspace.Work
		if err == nil {
			work, err = s.Save(ctx, ask, room)
		}
		var p part
		if err == nil {
			p, err = newPart(s, work, within(from[0].GuestPath, w.GuestPath))
		}
		if err != nil {
			done()
			if errors.Is(err, workspace.ErrNoRoom) {
				err = fmt.Errorf("nor taken into memory: it takes more than %s", bytesText(maxInMemory))
			}
			return nil, func() {}, errors.Join(why, err)
		}
		parts = append(parts, p)
	}
	show.event("", api.Event{Notice: clean(fmt.Sprintf("not saved: %v", why)) + "\nthis is what the guest has now; it is kept nowhere else"})
	return parts, done, nil
}

// memoryDir makes a directory in memory that is this user's: the one with the most room.
func memoryDir() (best string, err error) {
	var most uint64
	for _, dir := range paths.Memory() {
		derr := os.Mkdir(dir, 0o700)
		if derr == nil || errors.Is(derr, os.ErrExist) {
			derr = workspace.SweepLeases(dir) // of commands that were cut
		}
		var st unix.Statfs_t
		if derr == nil {
			derr = unix.Statfs(dir, &st)
		}
		if derr != nil {
			err = errors.Join(err, derr)
		} else if free := st.Bavail * uint64(st.Bsize); best == "" || free > most {
			best, most = dir, free
		}
	}
	if best != "" {
		return best, nil
	}
	return "", fmt.Errorf("make a directory in memory: %w", err)
}

// tellWork saves what a command did to a VM's workspaces and says in a line what it
// is. It is for the end of a run: an error is told, and changes nothing.
func (a *app) tellWork(ctx context.Context, c *api.Client, v api.VM, goes bool, show display) {
	if ctx.Err() != nil {
		return // the prompt is wanted back; a stop or a deletion saves as well
	}
	v, err := c.SaveWork(ctx, string(v.ID), api.WorkspaceSave{}, each(show))
	show.close()
	if err != nil {
		a.report(err)
		return
	}
	var all workspace.Work
	for _, w := range v.Workspaces {
		work, err := workspace.Store{Dir: w.Dir}.Work()
		if err != nil {
			continue
		}
		if work.Anew {
			show.event("", api.Event{Notice: "the repository in " + clean(w.GuestPath) + " was made anew in the guest: its files come out, its commits don't"})
		}
		all.Files, all.Commits, all.Stashes = all.Files+work.Files, all.Commits+work.Commits, all.Stashes+work.Stashes
	}
	if !all.Changed() {
		return
	}
	verb := "changed"
	if goes {
		verb = "saved"
	}
	show.event("", api.Event{Notice: fmt.Sprintf("%s: %s: banger diff %s shows it, banger apply %s takes it", verb, changesText(all), clean(v.Name), clean(v.Name))})
}
