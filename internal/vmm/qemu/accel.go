package qemu

import (
	"bytes"
	"errors"
	"io/fs"
	"strings"
	"syscall"
)

// Accelerators, as in QEMU's -accel.
const (
	accelKVM = "kvm"
	accelTCG = "tcg"
)

// chooseAccel decides between KVM and emulation from the error of opening
// /dev/kvm and the text of /proc/cpuinfo. An open /dev/kvm is no proof: on a
// paravirtualised host (PVM), whose CPU shows neither vmx nor svm, it creates
// VMs and then hangs every stock kernel.
func chooseAccel(open error, cpuinfo []byte) (accel, why string) {
	virt := hasFlag(cpuinfo, "vmx") || hasFlag(cpuinfo, "svm")
	switch {
	case open == nil && virt:
		return accelKVM, "/dev/kvm is there and the CPU has hardware virtualisation"
	case open == nil:
		return accelTCG, "/dev/kvm opens, but this host's CPU shows neither vmx nor svm, so it can't run a stock kernel"
	case errors.Is(open, fs.ErrNotExist), errors.Is(open, syscall.ENODEV), errors.Is(open, syscall.ENXIO):
		if virt {
			return accelTCG, "the CPU has hardware virtualisation but there is no /dev/kvm (try: sudo modprobe -a kvm_intel kvm_amd)"
		}
		return accelTCG, "this host has no KVM"
	case errors.Is(open, fs.ErrPermission):
		if virt {
			return accelTCG, "you have no rights on /dev/kvm (try: sudo usermod -aG kvm $USER, then log in again)"
		}
		return accelTCG, "this host's CPU shows neither vmx nor svm, so KVM can't run a stock kernel"
	}
	return accelTCG, "/dev/kvm can't be opened (" + open.Error() + ")"
}

// hasFlag looks for a CPU flag in the text of /proc/cpuinfo, as a whole word of
// a line "flags : …" (not "vmx flags", which KVM adds where vmx is on anyway).
func hasFlag(cpuinfo []byte, flag string) bool {
	for line := range bytes.Lines(cpuinfo) {
		key, value, ok := strings.Cut(string(line), ":")
		if !ok || strings.TrimSpace(key) != "flags" {
			continue
		}
		for _, f := range strings.Fields(value) {
			if f == flag {
				return true
			}
		}
	}
	return false
}
