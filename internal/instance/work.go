package instance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"banger/internal/fault"
	"banger/internal/hint"
	"banger/internal/progress"
	"banger/internal/session"
	"banger/internal/supervisor"
	"banger/internal/vm"
	"banger/internal/workspace"
)

// saveLimit bounds one save of a VM's workspaces.
const saveLimit = 2 * time.Minute

// AddWorkspace gives a running VM a workspace that a client has copied in. staged
// is the name of the store that the client made; it becomes the VM's.
func (i *Instance) AddWorkspace(ctx context.Context, w vm.Workspace, staged string) error {
	v := verb{name: "workspace prepare", key: "workspace add " + staged}
	return i.do(ctx, v, discard, func(ctx context.Context, _ progress.Func) error { return i.addWorkspace(ctx, w, staged) })
}

func (i *Instance) addWorkspace(ctx context.Context, w vm.Workspace, staged string) error {
	v := i.View()
	switch {
	case !v.HasRun:
		return &StateError{v.Record.Spec.Name, v.Record.State, "given a workspace"}
	case !workspace.IsLease(staged):
		return &vm.FieldError{Field: "staged", Err: fmt.Errorf("%q is no store that a client makes", staged)}
	case !filepath.IsAbs(w.GuestPath):
		return &vm.FieldError{Field: "guest_path", Err: fmt.Errorf("%q is not absolute", w.GuestPath)}
	}
	if err := cause(ctx); err != nil {
		return err
	}
	work := i.set.cfg.Dirs.Work()
	list := slices.DeleteFunc(slices.Clone(v.Record.Workspaces), func(o vm.Workspace) bool { // what it replaces, with its submodules
		return o.GuestPath == w.GuestPath || strings.HasPrefix(o.GuestPath, w.GuestPath+"/")
	})
	w.Store = i.storeName(v.Record.Workspaces)
	err := fault.Do("workspace.keep", func() error { return os.Rename(filepath.Join(work, staged), filepath.Join(work, w.Store)) })
	if err != nil {
		return fmt.Errorf("keep the workspace: %w", err)
	}
	err = i.move("", func(r *vm.Record) { r.Workspaces = append(list, w) })
	if err != nil {
		// The client made it and removes it.
		fault.Do("workspace.giveBack", func() error { return os.Rename(filepath.Join(work, w.Store), filepath.Join(work, staged)) })
	}
	return err
}

// storeName is a name that no store of this VM has.
func (i *Instance) storeName(list []vm.Workspace) string {
	for n := len(list) + 1; ; n++ {
		name := fmt.Sprintf("%s-%d", i.id, n)
		if _, err := os.Lstat(filepath.Join(i.set.cfg.Dirs.Work(), name)); errors.Is(err, os.ErrNotExist) {
			return name
		}
	}
}

// SaveWork brings out the work of the workspaces at guestPaths, or of all if that is
// empty. A VM that does not run, and whose work was not saved, runs for that
// (saveStopped), and is asked for all; then it goes on when its callers leave.
func (i *Instance) SaveWork(ctx context.Context, guestPaths []string, step progress.Func) error {
	if !i.View().Live() {
		return i.do(ctx, saveStoppedVerb, step, i.bringAllOut)
	}
	return i.do(ctx, verb{name: "save", key: fmt.Sprintf("save %q", guestPaths)}, step, func(ctx context.Context, step progress.Func) error {
		return i.bringOut(ctx, guestPaths, step)
	})
}

var saveStoppedVerb = verb{name: "save", key: "save stopped", goesOn: true}

func (i *Instance) bringAllOut(ctx context.Context, step progress.Func) error {
	return i.bringOut(ctx, nil, step)
}

func (i *Instance) bringOut(ctx context.Context, guestPaths []string, step progress.Func) error {
	switch v := i.View(); {
	case v.Record.Run.ForWork && v.HasRun, !v.Live():
		return i.saveStopped(ctx, step)
	case v.Record.State != vm.Running:
		return &StateError{v.Record.Spec.Name, v.Record.State, "asked for its work"}
	}
	return i.saveWork(ctx, guestPaths, step)
}

// saveWork asks the guest for the work of the workspaces at guestPaths, all if that is
// empty, and brings it into their stores, checked. Whether the VM's work is saved, its
// record says of all together.
func (i *Instance) saveWork(ctx context.Context, guestPaths []string, step progress.Func) error {
	list := i.View().Record.Workspaces
	asked := func(w vm.Workspace) bool { return len(guestPaths) == 0 || slices.Contains(guestPaths, w.GuestPath) }
	for _, p := range guestPaths {
		if !slices.ContainsFunc(list, func(w vm.Workspace) bool { return w.GuestPath == p }) {
			return &vm.FieldError{Field: "guest_paths", Err: fmt.Errorf("VM %q has no workspace at %q", i.Name(), p)}
		}
	}
	if len(list) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, saveLimit, fmt.Errorf("it took longer than %v", saveLimit))
	defer cancel()
	saved := make([]*vm.Saved, len(list))
	var errs []error
	all := true
	for n, w := range list {
		if !asked(w) {
			all = false
			continue
		}
		step(progress.Step{Stage: "save", Text: "saving the work in " + w.GuestPath})
		err := i.saveOne(ctx, w, step)
		if err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			errs = append(errs, fmt.Errorf("save the work in %s of VM %q: %w", w.GuestPath, i.Name(), err))
			continue
		}
		saved[n] = &vm.Saved{At: time.Now().UTC(), BootID: i.View().Record.Run.BootID}
	}
	step(progress.Step{Stage: "save", Text: "saving the work", Finished: true})
	i.set.warnRoom(step)
	err := errors.Join(errs...)
	return errors.Join(err, i.note("", func(r *vm.Record) {
		if all {
			r.NotSaved = ""
			if err != nil {
				r.NotSaved = withHint(err)
			}
		}
		r.Workspaces = slices.Clone(r.Workspaces)
		for n, s := range saved {
			if s != nil {
				r.Workspaces[n].Saved = s
			}
		}
	}))
}

// withHint is an error with what to type about it: for a record, which has no place for
// advice of its own.
func withHint(err error) string {
	if h := hint.Of(err); h != "" {
		return err.Error() + ": " + h
	}
	return err.Error()
}

// saveOne brings the work of one workspace into its store.
func (i *Instance) saveOne(ctx context.Context, w vm.Workspace, step progress.Func) error {
	ask := func(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
		return session.RunAgent(ctx, supervisor.SocketPath(i.Dir()), args, in, out)
	}
	var work workspace.Work
	err := fault.Do("save.work", func() (err error) {
		work, err = workspace.Store{Dir: i.WorkDir(w)}.Save(ctx, ask, i.room)
		return err
	})
	if err == nil && work.Lacking > 0 {
		step(progress.Step{Notice: fmt.Sprintf("the guest has no content of %d LFS files in %s, only their pointers: %q", work.Lacking, w.GuestPath, work.Lacks)})
	}
	return i.explainRoom(err)
}

// endSaved is end, after the work of all workspaces was saved. Work that can't be
// saved stays in the VM's disk, and the record says so.
func (i *Instance) endSaved(ctx context.Context, step progress.Func, how supervisor.Stop) error {
	settled := false
	if v := i.View(); v.HasRun && len(v.Record.Workspaces) > 0 && v.Record.Run.BootID != "" {
		err := i.saveBeforeEnd(ctx, step)
		if cause := cause(ctx); cause != nil {
			return cause
		}
		if settled = err == nil; !settled {
			step(progress.Step{Notice: fmt.Sprintf("not saved: %s; it stays in the VM's disk", withHint(err))})
		}
	}
	if err := i.end(ctx, step, how); err != nil || !settled {
		return err
	}
	return i.settle(nil)
}

// saveBeforeEnd is saveWork for a run that is about to end. A guest that can't answer
// is not waited for, and a second request for the same end gives the save up.
func (i *Instance) saveBeforeEnd(ctx context.Context, step progress.Func) error {
	v := i.View()
	switch {
	case v.Status.Held != "":
		return fmt.Errorf("the guest is held still: %s", v.Status.Held)
	case !v.Status.AgentGoneSince.IsZero():
		return errors.New("the agent in the guest is gone")
	case v.Status.Phase != supervisor.Ready:
		return errors.New("the guest is ending already")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	over := make(chan struct{})
	defer close(over)
	i.set.work.Go(func() { // ends with the save
		select {
		case <-again(ctx):
			cancel(errors.New("it was given up, because the same was asked for once more"))
		case <-over:
		}
	})
	return i.saveWork(ctx, nil, step)
}

// WorkDir is the directory of what came out of a workspace.
func (i *Instance) WorkDir(w vm.Workspace) string {
	return filepath.Join(i.set.cfg.Dirs.Work(), w.Store)
}

// withFinal are workspaces whose last save is final or not: what runs after it may
// change them.
func withFinal(list []vm.Workspace, final bool) []vm.Workspace {
	list = slices.Clone(list)
	for n := range list {
		if s := list[n].Saved; s != nil {
			last := *s
			last.Final = final
			list[n].Saved = &last
		}
	}
	return list
}
