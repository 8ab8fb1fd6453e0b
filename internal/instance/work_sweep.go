package instance

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"banger/internal/fault"
	"banger/internal/paths"
	"banger/internal/vm"
	"banger/internal/workspace"
)

// workAge is how long saved work stays after its VM is gone.
const workAge = 30 * 24 * time.Hour

// sweepWork removes what nobody can want of all that came out of workspaces: what
// a client that was cut left, stores that no VM took, and old work of VMs that are
// gone. What a VM names, in the trash too, stays.
func (s *Set) sweepWork() {
	for _, dir := range append(paths.Memory(), s.cfg.Dirs.Work()) {
		err := fault.Do("work.leases", func() error { return workspace.SweepLeases(dir) })
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			slog.Warn("remove what clients left", "err", err)
		}
	}
	entries, err := os.ReadDir(s.cfg.Dirs.Work())
	if err != nil {
		slog.Warn("read the saved work", "err", err)
		return
	}
	if len(entries) == 0 {
		return
	}
	trashed, err := s.trash.List()
	if err != nil {
		slog.Warn("read the trash", "err", err)
		return
	}
	inTrash := map[vm.ID]bool{}
	for _, e := range trashed {
		inTrash[e.ID] = true
	}
	for _, e := range entries {
		dir := filepath.Join(s.cfg.Dirs.Work(), e.Name())
		id, _, _ := strings.Cut(e.Name(), "-")
		if vm.CheckID(id) != nil || inTrash[vm.ID(id)] || s.wantsWork(vm.ID(id), e.Name(), dir) {
			continue
		}
		if err := fault.Do("work.sweep", func() error { return os.RemoveAll(dir) }); err != nil {
			slog.Warn("remove old work", "dir", dir, "err", err)
		}
	}
}

// wantsWork reports whether a store is a VM's, or holds work that is not old.
func (s *Set) wantsWork(id vm.ID, name, dir string) bool {
	w, err := workspace.Store{Dir: dir}.Work()
	if err == nil && time.Since(w.At) < workAge {
		return true
	}
	if err != nil && !errors.Is(err, workspace.ErrNoWork) {
		slog.Warn("saved work can't be read; it is left as it is", "dir", dir, "err", err)
		return true
	}
	s.mu.Lock()
	i := s.vms[id]
	s.mu.Unlock()
	if i == nil {
		return false
	}
	if i.slot.busy() {
		return true // it may be about to be taken
	}
	for _, w := range i.View().Record.Workspaces {
		if w.Store == name {
			return true
		}
	}
	return false
}
