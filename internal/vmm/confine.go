package vmm

import (
	"os"

	"banger/internal/landlock"
	"banger/internal/launch"
)

// loaderFiles are what starting a dynamically linked program reads; nothing of
// the user's is among them.
var loaderFiles = []string{"/etc/ld.so.cache", "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/nix/store", "/gnu/store"}

// Confine limits spec, which starts a VMM for s: its files are the machine's,
// KVM, and shared libraries; it gets no new privileges, writes no core, and
// nothing behind the end of its largest disk; and only SIGKILL ends it, so that
// a shutdown of the host leaves the guest to its supervisor. A driver adds to
// spec.Access what else its VMM opens.
func Confine(spec *launch.Spec, s Spec) {
	a := &landlock.Access{
		Read:  append([]string{s.Kernel, s.Initrd, "/dev/urandom"}, loaderFiles...),
		Write: []string{"/dev/null", "/dev/kvm"},
	}
	for _, d := range s.Disks {
		if d.ReadOnly {
			a.Read = append(a.Read, d.Path)
		} else {
			a.Write = append(a.Write, d.Path)
		}
	}
	spec.Access = a
	spec.NoNewPrivs, spec.NoCore = true, true
	spec.OnlyKill = true
	spec.MaxFileSize = largestDisk(s.Disks)
}

// largestDisk bounds what a VMM may write, in bytes: a disk image does not grow,
// so a VMM has no business behind the end of the largest one. A VMM's own small
// files fit in a block. 0 is no bound: a block device has no such size.
func largestDisk(disks []Disk) int64 {
	largest := int64(4 << 10)
	for _, d := range disks {
		if d.ReadOnly {
			continue
		}
		fi, err := os.Stat(d.Path)
		if err != nil || !fi.Mode().IsRegular() {
			return 0
		}
		largest = max(largest, fi.Size())
	}
	return largest
}
