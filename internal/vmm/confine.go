package vmm

import (
	"banger/internal/landlock"
	"banger/internal/launch"
	"banger/internal/rootdisk"
	"banger/internal/vm"
)

// loaderFiles are what starting a dynamically linked program reads; nothing of
// the user's is among them.
var loaderFiles = []string{"/etc/ld.so.cache", "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/nix/store", "/gnu/store"}

// Confine limits spec, which starts a VMM for s: its files are the machine's,
// KVM, and shared libraries; it gets no new privileges, writes no core, and
// nothing behind the end of the largest disk that there can be; and only SIGKILL ends it, so that
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
	spec.MaxFileSize = maxDiskFile
}

// maxDiskFile bounds what a VMM may write, in bytes: a disk may grow while it runs, and a
// process can't be given a larger limit than it began with.
var maxDiskFile = rootdisk.Of(vm.MaxDiskMiB << 20).FileBytes
