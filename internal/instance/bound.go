package instance

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"banger/internal/config"
	"banger/internal/hint"
	"banger/internal/progress"
	"banger/internal/vm"
	"banger/internal/workspace"
)

// BoundError is a bound of saved or unsaved work that is reached. Nothing is removed to
// stay within one.
type BoundError struct{ Text string }

func (e *BoundError) Error() string { return e.Text }

// bounds are those of the configuration at this moment: a user who raised one need not
// start the daemon again.
func (s *Set) bounds() config.Bounds { return s.cfg.Bounds() }

// room is what the work of the VM may still take.
func (i *Instance) room() (int64, error) {
	own, all, err := workspace.UsedBytes(i.set.cfg.Dirs.Work(), string(i.id))
	b := i.set.bounds()
	return min(b.SavedPerVM-own, b.SavedTotal-all), err
}

// explainRoom says which bound a work is over, if err says that it is over one.
func (i *Instance) explainRoom(err error) error {
	if !errors.Is(err, workspace.ErrNoRoom) {
		return err
	}
	own, all, merr := workspace.UsedBytes(i.set.cfg.Dirs.Work(), string(i.id))
	if merr != nil {
		return errors.Join(err, merr)
	}
	b := i.set.bounds()
	file := filepath.Join(i.set.cfg.Dirs.Config, config.File)
	if b.SavedPerVM-own <= b.SavedTotal-all {
		text := fmt.Sprintf("%v: what is kept of this VM's takes %s, and may take %s", err, vm.FormatBytes(own), vm.FormatBytes(b.SavedPerVM))
		return hint.Add(&BoundError{text}, fmt.Sprintf("set saved_max_per_vm in %s to more, or banger saved drop %s frees what came out before", file, i.Name()))
	}
	text := fmt.Sprintf("%v: what is kept of all VMs' takes %s, and may take %s", err, vm.FormatBytes(all), vm.FormatBytes(b.SavedTotal))
	return hint.Add(&BoundError{text}, fmt.Sprintf("banger saved list, and banger saved drop frees what is not needed; or set saved_max_total in %s to more", file))
}

// warnShare is the part of the room for all saved work, in tenths, from which a save says
// how much is taken.
const warnShare = 8

// warnRoom says so if there is little room left for saved work.
func (s *Set) warnRoom(step progress.Func) {
	_, all, err := workspace.UsedBytes(s.cfg.Dirs.Work(), "")
	if most := s.bounds().SavedTotal; err == nil && all >= most/10*warnShare {
		step(progress.Step{Notice: fmt.Sprintf("saved work takes %s of the %s that it may: banger saved list shows it, banger saved drop frees what is not needed",
			vm.FormatBytes(all), vm.FormatBytes(most))})
	}
}

// shownUnsaved is how many VMs a refusal names.
const shownUnsaved = 5

// refuseUnsaved refuses a new VM if too many have work that was not saved: each keeps its
// whole disk until somebody looks.
func (s *Set) refuseUnsaved() error {
	var names []string
	for _, i := range s.All() {
		if v := i.View(); !v.Live() && v.Record.Unsaved() != "" {
			names = append(names, v.Record.Spec.Name)
		}
	}
	deleted, err := s.trash.List()
	if err != nil {
		return err
	}
	for _, e := range deleted {
		if e.NotSaved != "" {
			names = append(names, e.Name+" (deleted)")
		}
	}
	most := s.bounds().UnsavedVMs
	if len(names) < most {
		return nil
	}
	some := names
	if len(some) > shownUnsaved {
		some = append(some[:shownUnsaved:shownUnsaved], "…")
	}
	text := fmt.Sprintf("no new VM is made: %d VMs have work that was not saved, and from %d on (unsaved_max) none is: %s", len(names), most, strings.Join(some, ", "))
	return hint.Add(&BoundError{text}, "banger saved list says what saves each; banger vm delete --discard, or banger trash empty NAME, gives one's work up")
}
