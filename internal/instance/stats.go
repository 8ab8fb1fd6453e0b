package instance

import (
	"path/filepath"
	"time"

	"banger/internal/disk"
	"banger/internal/paths"
	"banger/internal/process"
	"banger/internal/vm"
)

// Stats is what a running VM takes of the host.
type Stats struct {
	At    time.Time
	VMM   process.Usage
	VCPUs int
	// MemLimitMiB is the guest's memory.
	MemLimitMiB int64
	// DiskOwnBytes is the space of the VM's own disk, DiskSharedBytes that of what
	// it was made from.
	DiskOwnBytes, DiskSharedBytes int64
}

// Stats measures a running VM. One that does not run is a *StateError.
func (i *Instance) Stats() (Stats, error) {
	v := i.View()
	p := first(v.Status.VMM, v.Record.Run.VMM)
	if !v.HasRun || p == nil || isGone(*p) {
		return Stats{}, &StateError{v.Record.Spec.Name, v.Record.State, "measured"}
	}
	u, err := process.UsageOf(p.PID)
	if err != nil {
		return Stats{}, err
	}
	s := Stats{At: time.Now().UTC(), VMM: u, VCPUs: v.Record.Spec.VCPUs, MemLimitMiB: v.Record.Spec.MemMiB}
	s.DiskOwnBytes = i.DiskUsed()
	s.DiskSharedBytes = i.set.sharedBytes(v.Record)
	return s, nil
}

// DiskUsed is the space that the VM's own disk takes, in bytes.
func (i *Instance) DiskUsed() int64 {
	n, err := disk.Used(filepath.Join(i.Dir(), paths.DiskFile))
	if err != nil {
		return 0
	}
	return n
}

// sharedBytes is the space of what the VM was made from; 0 if it can't be told.
func (s *Set) sharedBytes(rec vm.Record) int64 {
	b, err := s.baseOf(rec)
	if err != nil || b.image.Digest == noBase {
		return 0
	}
	var sum int64
	for _, path := range []string{b.image.Path, b.kernel.Dir} {
		n, err := disk.Used(path)
		if err != nil {
			return 0
		}
		sum += n
	}
	return sum
}
