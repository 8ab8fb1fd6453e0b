package qemu

import (
	"bytes"
	"io"
	"os"
	"path/filepath"

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

// systemDirs hold programs and shared libraries, and nothing of the user's.
var systemDirs = []string{"/bin", "/lib", "/lib64", "/sbin", "/usr", "/nix/store", "/gnu/store"}

// confine limits spec, which starts the QEMU at path for s: beside the machine's
// files it has what QEMU itself consists of, and of sockets those that it
// inherits: it makes none, by the same trace. It returns what of that does not
// hold for this QEMU.
func confine(spec *launch.Spec, path string, s vmm.Spec) (gaps []string) {
	vmm.Confine(spec, s)
	spec.Sockets = launch.NoSockets
	spec.MaxOpenFiles = maxOpenFiles
	a := spec.Access
	a.Read = append(a.Read, "/etc/localtime") // as traced with Debian's QEMU 7.2
	if real, err := filepath.EvalSymlinks(path); err == nil {
		prefix := filepath.Dir(filepath.Dir(real)) // as QEMU finds its own files
		for _, dir := range []string{"lib", "lib64", "share/qemu", "share/seabios"} {
			a.Read = append(a.Read, filepath.Join(prefix, dir))
		}
	}
	if isScript(path) {
		a.Execute = systemDirs
		gaps = append(gaps, gapScript)
	}
	return gaps
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
