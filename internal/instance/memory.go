package instance

import (
	"bufio"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"banger/internal/process"
	"banger/internal/vm"
)

// hasMemory returns a *MemoryError if the host has not enough memory for rec
// beside what running VMs may still take. What can't be told refuses nothing.
func (s *Set) hasMemory(rec vm.Record) error {
	available := availableMiB()
	if available == 0 {
		return nil
	}
	var promised int64
	for _, i := range s.All() {
		v := i.View()
		if i.id == rec.ID || !v.Live() {
			continue
		}
		var used int64
		if p := v.Record.Run.VMM; p != nil {
			used = process.RSSKiB(p.PID) >> 10
		}
		promised += max(v.Record.Spec.MemMiB-used, 0)
	}
	if rec.Spec.MemMiB > available-promised {
		return &MemoryError{WantMiB: rec.Spec.MemMiB, AvailableMiB: available, PromisedMiB: promised}
	}
	return nil
}

// availableMiB is the memory that the host can give without swapping, by the
// kernel's estimate (proc(5), MemAvailable); 0 if it can't be told.
func availableMiB() int64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "MemAvailable:"); ok {
			kib, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 10, 64)
			return kib >> 10
		}
	}
	return 0
}

// hostMemMiB is the host's memory, or 0 if it can't be told.
func hostMemMiB() int64 {
	var si unix.Sysinfo_t
	if unix.Sysinfo(&si) != nil {
		return 0
	}
	return int64(uint64(si.Totalram) * uint64(si.Unit) >> 20)
}
