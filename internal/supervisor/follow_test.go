package supervisor

import (
	"log/slog"
	"testing"

	"banger/internal/channel/control"
	"banger/internal/vm"
	"banger/internal/vmm"
)

func TestHeldText(t *testing.T) {
	for want, e := range map[string]vmm.Event{
		"the host's disk is full (/d needs room)":     {Path: "/d", Full: true, Why: "No space left on device"},
		"the host's disk is full":                     {Full: true},
		`the host can't write /d: Disk quota \x1b`:    {Path: "/d", Why: "Disk quota \x1b"},
		"the host can't write its disk: Input/output": {Why: "Input/output"},
	} {
		if got := heldText(e); got != want {
			t.Errorf("heldText(%+v) = %q, want %q", e, got, want)
		}
	}
}

// A guest can say no more of its disk than the states that there are.
func TestFoundDisk(t *testing.T) {
	r := &run{board: board{changed: make(chan struct{})}, log: slog.New(slog.DiscardHandler)}
	for _, c := range []struct {
		says control.DiskState
		want vm.DiskState
	}{
		{"", ""}, {control.DiskChecked, vm.DiskChecked}, {"", vm.DiskChecked}, {"\x1b[31m", vm.DiskChecked}, {control.DiskReadOnly, vm.DiskReadOnly},
	} {
		r.heard(control.Event{Disk: c.says})
		if s, _ := r.now(); s.Disk != c.want {
			t.Errorf("after %q it is %q, want %q", c.says, s.Disk, c.want)
		}
	}
}
