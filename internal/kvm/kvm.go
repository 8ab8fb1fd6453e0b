// Package kvm tells whether this host's KVM can run a stock kernel.
package kvm

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// Usable decides from opening /dev/kvm and the flags of the CPU, in microseconds.
// why is a clause for a person, with what to type where that helps.
func Usable() (ok bool, why string) { return decide(open(), hostCPU()) }

// decide decides from the error of opening
// /dev/kvm and the text of /proc/cpuinfo. An open /dev/kvm is no proof: on a
// paravirtualised host (PVM), whose CPU shows neither vmx nor svm, it creates
// VMs and then hangs every stock kernel.
func decide(open error, cpuinfo []byte) (ok bool, why string) {
	virt := hasFlag(cpuinfo, "vmx") || hasFlag(cpuinfo, "svm")
	switch {
	case open == nil && virt:
		return true, "/dev/kvm is there and the CPU has hardware virtualisation"
	case open == nil:
		return false, "/dev/kvm opens, but this host's CPU shows neither vmx nor svm, so it can't run a stock kernel"
	case errors.Is(open, fs.ErrNotExist), errors.Is(open, syscall.ENODEV), errors.Is(open, syscall.ENXIO):
		if virt {
			return false, "the CPU has hardware virtualisation but there is no /dev/kvm (try: sudo modprobe -a kvm_intel kvm_amd)"
		}
		return false, "this host has no KVM"
	case errors.Is(open, fs.ErrPermission):
		if virt {
			return false, "you have no rights on /dev/kvm (try: sudo usermod -aG kvm $USER, then log in again)"
		}
		return false, "this host's CPU shows neither vmx nor svm, so KVM can't run a stock kernel"
	}
	return false, "/dev/kvm can't be opened (" + open.Error() + ")"
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

// open reports why /dev/kvm can't be used, as far as opening it tells.
func open() error {
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

// hostCPU is the head of /proc/cpuinfo: the first processor's lines, and
// enough for hundreds of flags.
func hostCPU() []byte {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return nil
	}
	defer f.Close()
	text, _ := io.ReadAll(io.LimitReader(f, 64<<10))
	return text
}
