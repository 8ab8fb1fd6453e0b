package agent

import (
	"testing"

	"banger/internal/channel/control"
)

func TestDiskHears(t *testing.T) {
	for record, want := range map[string]control.DiskState{
		"3,812,6540901,-;I/O error, dev vdb, sector 2048 op 0x1:(WRITE) flags 0x0 phys_seg 1 prio class 2\n": control.DiskErrors,
		"3,812,6540901,-;I/O error, dev vdc, sector 2048 op 0x0:(READ) flags 0x0\n":                          "",
		"12,812,6540901,-;I/O error, dev vdb, sector 2048 op 0x1:(WRITE)\n":                                  "", // a program's
		"4,813,6540901,-;EXT4-fs (dm-3): warning: mounting fs with errors, running e2fsck is recommended\n":  "",
	} {
		d := newDisk()
		_, changed := d.last()
		d.hear([]byte(record))
		got, _ := d.last()
		if got != want {
			t.Errorf("%q: %q, want %q", record, got, want)
		}
		select {
		case <-changed:
		default:
			if want != "" {
				t.Errorf("%q: nobody hears of it", record)
			}
		}
	}
	d := newDisk()
	d.set(control.DiskReadOnly)
	if d.set(control.DiskErrors); d.state != control.DiskReadOnly {
		t.Errorf("a root that is read-only is %q", d.state)
	}
	if stops := "6,815,6601310,-;device-mapper: thin: 253:2: switching pool to read-only mode\n"; !diskStops.MatchString(stops) {
		t.Errorf("%q is not seen", stops)
	}
}
