package agent

import (
	"regexp"
	"sync"

	"golang.org/x/sys/unix"

	"banger/internal/agent/root"
	"banger/internal/channel/control"
)

// What the kernel says when the VM's own disk gives an error (block/blk-core.c), and when
// a pool or a file system takes no more writes for one. The numbers at the front are as in
// killed.
var (
	diskError = regexp.MustCompile(`^[0-7],[^;]*;I/O error, dev vdb, `)
	diskStops = regexp.MustCompile(`^[0-7],[^;]*;(device-mapper: thin: [0-9:]+: switching pool to|EXT4-fs \(dm-[0-9]+\): Remounting filesystem read-only)`)
)

// disk keeps what is known of the VM's own disk.
type disk struct {
	mu      sync.Mutex
	state   control.DiskState
	changed chan struct{} // closed and replaced when state changes
}

func newDisk() *disk { return &disk{changed: make(chan struct{})} }

// set notes a state, and reports whether that is news. Nothing follows DiskReadOnly.
func (d *disk) set(s control.DiskState) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.state == s || d.state == control.DiskReadOnly {
		return false
	}
	d.state = s
	close(d.changed)
	d.changed = make(chan struct{})
	return true
}

// last returns the state, and a channel that is closed when it changes.
func (d *disk) last() (control.DiskState, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.state, d.changed
}

// hear takes a record of the kernel's log.
func (d *disk) hear(record []byte) {
	switch {
	case diskError.Match(record):
		d.set(control.DiskErrors)
	case !diskStops.Match(record):
		return
	}
	d.look()
}

// look sees whether the root takes writes. A pool that has stopped to take new blocks has
// forgotten what was written since its last commit: the root is made read-only, before
// more goes the same way and a sync says that all is well.
func (d *disk) look() {
	if writes, err := root.Writes(); err == nil && !writes {
		if err := root.GiveUp("/"); err != nil {
			say("make the root read-only: %v", err)
		}
		if d.set(control.DiskReadOnly) {
			say("the VM's disk gave an error, and its root takes no more writes; what was synced is safe")
		}
		return
	}
	var st unix.Statfs_t
	if s, _ := d.last(); s == control.DiskErrors && unix.Statfs("/", &st) == nil && st.Flags&unix.ST_RDONLY != 0 {
		d.set(control.DiskReadOnly)
	}
}
