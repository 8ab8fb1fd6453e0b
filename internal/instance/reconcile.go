package instance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"banger/internal/durable"
	"banger/internal/fault"
	"banger/internal/process"
	"banger/internal/progress"
	"banger/internal/store"
	"banger/internal/supervisor"
	"banger/internal/vm"
)

// reconcile makes the records true again after whatever ended the last daemon:
// VMs that run are adopted, what was intended is taken up, half-made VMs are
// removed, and directories without a row get theirs back.
func (s *Set) reconcile(ctx context.Context) error {
	recs, err := s.records(ctx)
	if err != nil {
		return err
	}
	if err := s.pruneBase(ctx, recs); err != nil {
		slog.Warn("remove images and kernels that no VM needs", "err", err)
	}
	for _, rec := range recs {
		_, err := os.Lstat(s.cfg.Dirs.VM(rec.ID))
		switch {
		case errors.Is(err, fs.ErrNotExist), err == nil && rec.ImageDigest == "":
			s.dropHalf(rec)
		default:
			s.adopt(s.newInstance(rec))
		}
	}
	return nil
}

// records returns the rows, and adds one for each VM that has only a directory.
func (s *Set) records(ctx context.Context) ([]vm.Record, error) {
	recs, bad, err := s.store.List(ctx)
	if err != nil {
		return nil, err
	}
	for _, b := range bad {
		slog.Warn("skip a row that can't be read", "row", b)
	}
	known := map[vm.ID]bool{}
	for _, rec := range recs {
		known[rec.ID] = true
	}
	entries, err := os.ReadDir(s.cfg.Dirs.VMs())
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		id := vm.ID(e.Name())
		if !e.IsDir() || vm.CheckID(e.Name()) != nil || known[id] {
			continue
		}
		rec, err := store.ReadFile(s.cfg.Dirs.VM(id))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			s.orphan(id)
			continue
		case errors.Is(err, store.ErrOlder), errors.Is(err, store.ErrNewer):
			return nil, err
		case err == nil && rec.ID != id:
			err = fmt.Errorf("its vm.json is of VM %q", rec.ID)
		}
		if err != nil {
			slog.Error("a VM's directory can't be read; it is left as it is", "vm", id, "err", err)
			continue
		}
		err = fault.Do("adopt.row", func() (err error) {
			rec, err = s.store.InsertRestored(ctx, rec)
			return err
		})
		if err != nil {
			slog.Error("restore a VM's row", "vm", id, "err", err)
			continue
		}
		slog.Info("restored a VM's row from its directory", "vm", id, "name", rec.Spec.Name)
		recs = append(recs, rec)
	}
	return recs, nil
}

// dropHalf removes what a cut create or delete left.
func (s *Set) dropHalf(rec vm.Record) {
	slog.Info("remove what a cut create or delete left", "vm", rec.ID, "name", rec.Spec.Name)
	err := fault.Do("adopt.half", func() error { return s.trash.Discard(s.cfg.Dirs.VMs(), s.cfg.Dirs.VM(rec.ID)) })
	if err != nil {
		slog.Warn("remove a half-made VM", "vm", rec.ID, "err", err)
		return
	}
	s.dropRow(rec.ID)
}

// orphan removes a directory that a cut create left. One that ran before is kept
// for a look: nothing says whose it was.
func (s *Set) orphan(id vm.ID) {
	dir := s.cfg.Dirs.VM(id)
	log := slog.With("vm", id)
	if held, _, err := supervisor.Held(dir); held || err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Error("a VM runs that has no record", "err", err)
		return
	}
	if exists(filepath.Join(dir, supervisor.OrderFile)) {
		log.Error("a VM's directory has no record; it is left as it is", "dir", dir)
		return
	}
	log.Info("remove what a cut create left")
	if err := fault.Do("adopt.orphan", func() error { return s.trash.Discard(s.cfg.Dirs.VMs(), dir) }); err != nil {
		log.Warn("remove a half-made VM", "err", err)
	}
}

// adopt finds out whether the VM runs, follows it if it does, and takes up what
// was asked of it. Only the lock and the process decide: no question to the
// supervisor is waited for.
func (s *Set) adopt(i *Instance) {
	if err := durable.Sweep(i.Dir()); err != nil {
		i.log.Warn("sweep", "err", err)
	}
	i.mu.Lock()
	v := i.View()
	i.dirty = !store.IsFile(i.Dir(), v.Record) // the last daemon's end may have come between the two
	state := v.Record.State
	held, by, err := supervisor.Held(i.Dir())
	switch {
	case state.Live() && !i.isRunGone(), held, err != nil && state.Live() && !errors.Is(err, fs.ErrNotExist):
		i.adoptRun(state, by)
	case state == vm.Starting && !v.Record.Run.ForWork && v.Record.Run.Supervisor == nil && v.Record.Run.HostBootID == process.BootID() && !endedAlready(i.Dir(), v.Record):
		i.log.Info("start it: it was asked for and not done")
		i.slot.spawn(startVerb(StartOptions{}), func(ctx context.Context, step progress.Func) error {
			return i.start(ctx, step, StartOptions{Force: true})
		})
	case state.Live():
		i.endLocked(v, nil)
	default:
		i.sweep()
	}
	i.mu.Unlock()
	i.takeUp(state)
	i.watchHolder()
}

// sweep removes what a crash left of a run that is gone; it has no use.
func (i *Instance) sweep() {
	if dir := supervisor.RunDir(i.Dir()); exists(dir) {
		if err := fault.Do("adopt.sockets", func() error { return os.RemoveAll(dir) }); err != nil {
			i.log.Warn("remove sockets", "err", err)
		}
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// adoptRun follows a run that lives.
func (i *Instance) adoptRun(state vm.State, by *vm.Process) {
	i.log.Info("adopt", "state", state)
	if !state.Live() {
		// The record is behind: its run could not be recorded. The supervisor says
		// how far it is.
		i.noteLocked("", func(r *vm.Record) { r.State, r.Ending = vm.Starting, nil })
	}
	if by != nil {
		i.noteLocked("", func(r *vm.Record) { r.Run.Supervisor = by })
	}
	i.follow()
}

// endedAlready reports whether a run that was asked for came and went while
// nobody followed it.
func endedAlready(dir string, rec vm.Record) bool {
	s, err := supervisor.ReadRun(dir)
	return err == nil && s.Ending != nil && s.Ending.At.After(rec.StartedAt)
}

// takeUp goes on with what the record says was intended.
func (i *Instance) takeUp(state vm.State) {
	rec := i.View().Record
	switch {
	case state == vm.Deleting:
		i.spawnDelete(DeleteOptions{Force: true, Discard: rec.Discard})
	case state == vm.Stopping && rec.Restart:
		i.slot.spawn(restartVerb(StartOptions{Force: true}), func(ctx context.Context, step progress.Func) error {
			return i.restart(ctx, step, StartOptions{Force: true})
		})
	case state == vm.Stopping:
		i.slot.spawn(stopVerb, i.stop)
	case rec.Run.ForWork && i.View().HasRun:
		i.slot.spawn(saveStoppedVerb, i.bringAllOut)
	}
}
