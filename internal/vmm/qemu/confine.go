package qemu

import (
	"bytes"
	"io"
	"os"
	"path/filepath"

	"banger/internal/landlock"
	"banger/internal/launch"
	"banger/internal/vmm"
)

// sandbox is QEMU's own filter of system calls (seccomp): no obsolete ones, no
// change of user, no other program, no change of priorities.
const sandbox = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"

// Gaps of a QEMU itself.
const (
	gapSandbox = "this QEMU was built without seccomp: it can use every system call"
	gapScript  = "this QEMU is a script: it may execute every program of the system"
)

// maxOpenFiles is twice what a machine with the most vCPUs and disks needs: an
// ioeventfd and an irqfd for each queue of each disk, which has one a vCPU.
const maxOpenFiles = 2 * 2 * maxDisks * maxVCPUs

// libraryDirs hold shared libraries, systemDirs programs too, and neither
// anything of the user's.
var (
	libraryDirs = []string{"/lib", "/lib64", "/usr/lib", "/usr/lib64", "/nix/store", "/gnu/store"}
	systemDirs  = append([]string{"/bin", "/sbin", "/usr"}, libraryDirs...)
)

// confine limits spec, which starts the QEMU at path for s: its files are the
// machine's, KVM, and what QEMU itself consists of, its sockets those that it
// inherits. It returns what of that
// does not hold for this QEMU.
func confine(spec *launch.Spec, path string, s vmm.Spec) (gaps []string) {
	a := &landlock.Access{
		// As traced with Debian's QEMU 7.2: loader, libraries, accelerator's
		// modules, firmware, time zone.
		Read:  []string{"/etc/ld.so.cache", "/etc/localtime", "/dev/urandom", s.Kernel, s.Initrd},
		Write: []string{"/dev/null", "/dev/kvm"},
	}
	a.Read = append(a.Read, libraryDirs...)
	if real, err := filepath.EvalSymlinks(path); err == nil {
		prefix := filepath.Dir(filepath.Dir(real)) // as QEMU finds its own files
		for _, dir := range []string{"lib", "lib64", "share/qemu", "share/seabios"} {
			a.Read = append(a.Read, filepath.Join(prefix, dir))
		}
	}
	for _, d := range s.Disks {
		if d.ReadOnly {
			a.Read = append(a.Read, d.Path)
		} else {
			a.Write = append(a.Write, d.Path)
		}
	}
	if isScript(path) {
		a.Execute = systemDirs
		gaps = append(gaps, gapScript)
	}
	spec.Access = a
	spec.NoNewPrivs, spec.NoCore = true, true
	spec.Sockets = launch.NoSockets
	spec.MaxOpenFiles = maxOpenFiles
	spec.MaxFileSize = largestDisk(s.Disks)
	return gaps
}

// largestDisk bounds what QEMU may write, in bytes: a disk image does not grow, so
// QEMU has no business behind the end of the largest one. A disk of an odd size
// has its last sector filled. 0 is no bound: a block device has no such size.
func largestDisk(disks []vmm.Disk) int64 {
	const block = 4 << 10
	largest := int64(block)
	for _, d := range disks {
		if d.ReadOnly {
			continue
		}
		fi, err := os.Stat(d.Path)
		if err != nil || !fi.Mode().IsRegular() {
			return 0
		}
		largest = max(largest, (fi.Size()+block-1)/block*block)
	}
	return largest
}

// isScript reports whether the kernel starts another program for the one at
// path: some systems wrap QEMU so.
func isScript(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, 2)
	_, err = io.ReadFull(f, head)
	return err == nil && bytes.Equal(head, []byte("#!"))
}
