// Package kvm tells whether this host's KVM can be used. Look is cheap and is
// what a driver chooses by: rights on /dev/kvm, and the CPU's flags. Probe is
// the proof, for doctor: it makes a VM and runs a few instructions in it, in a
// process of its own that can hang without harm.
package kvm

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Device is KVM's device file.
const Device = "/dev/kvm"

// Finding is what looking at KVM found.
type Finding struct {
	Usable bool
	Why    string // why, or why not
	Fix    string // the line that mends it, as an ordinary user types it; "" where none does
	// Guest says that this host is itself a virtual machine.
	Guest bool
}

// String is why and how to mend it.
func (f Finding) String() string {
	if f.Fix == "" {
		return f.Why
	}
	return f.Why + " (try: " + f.Fix + ")"
}

// Look opens device, which is Device but in tests, and reads proc's cpuinfo. It
// takes less than a millisecond and makes no VM.
//
// It does not prove that KVM works, and that is meant: a probe would cost each
// start of a VM a process and up to ProbeLimit, and what Look takes for usable
// hangs on no host known. Where it is wrong, doctor says so.
func Look(device, proc string) Finding {
	f, err := os.OpenFile(device, os.O_RDWR|syscall.O_CLOEXEC, 0)
	if err == nil {
		f.Close()
	}
	return decide(err, group(device), cpuinfo(proc))
}

// group is the name of the group that may use the device, or "".
func group(device string) string {
	fi, err := os.Stat(device)
	if err != nil || fi.Mode()&0o060 != 0o060 {
		return ""
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || st.Gid == 0 { // nobody should join root's
		return ""
	}
	g, err := user.LookupGroupId(strconv.Itoa(int(st.Gid)))
	if err != nil {
		return ""
	}
	return g.Name
}

// cpuinfo is the head of /proc/cpuinfo: the first processor's lines, and enough
// for hundreds of flags.
func cpuinfo(proc string) string {
	f, err := os.Open(proc + "/cpuinfo")
	if err != nil {
		return ""
	}
	defer f.Close()
	text, _ := io.ReadAll(io.LimitReader(f, 64<<10))
	return string(text)
}

// decide judges from the error of opening /dev/kvm, the group that may open it
// and the text of /proc/cpuinfo. An open /dev/kvm is no proof: on a
// paravirtualised host (PVM), whose CPU shows neither vmx nor svm, it makes VMs
// and then hangs every stock kernel.
func decide(open error, group, cpuinfo string) Finding {
	virt := hasFlag(cpuinfo, "vmx") || hasFlag(cpuinfo, "svm")
	f := Finding{Guest: hasFlag(cpuinfo, "hypervisor")}
	switch {
	case open == nil && virt:
		f.Usable, f.Why = true, Device+" opens and the CPU has hardware virtualisation"
	case open == nil:
		f.Why = Device + " opens, but this host's CPU shows neither vmx nor svm, so it can't run a stock kernel"
	case !virt:
		f.Why = "this host has no KVM: its CPU shows no hardware virtualisation (neither vmx nor svm)"
	case errors.Is(open, fs.ErrNotExist), errors.Is(open, syscall.ENODEV), errors.Is(open, syscall.ENXIO):
		f.Why = "the CPU has hardware virtualisation, but there is no " + Device
		f.Fix = "sudo modprobe -a kvm_intel kvm_amd; where that is refused, switch virtualisation on in the firmware"
	case errors.Is(open, syscall.EPERM):
		// The kernel's answer to a wrong mode is EACCES; EPERM is a device cgroup's.
		f.Why = "this container may not open " + Device
		f.Fix = "start it with --device " + Device
	case errors.Is(open, fs.ErrPermission) && group != "":
		f.Why = "you have no rights on " + Device
		f.Fix = "sudo usermod -aG " + group + " $USER, then log in again"
	case errors.Is(open, fs.ErrPermission):
		f.Why = "you have no rights on " + Device + ", and no group has"
		f.Fix = "sudo chgrp kvm " + Device + " && sudo chmod g+rw " + Device + " && sudo usermod -aG kvm $USER, then log in again"
	default:
		f.Why = Device + " can't be opened (" + open.Error() + ")"
	}
	return f
}

// hasFlag looks for a CPU flag in the text of /proc/cpuinfo, as a whole word of
// a line "flags : …" (not "vmx flags", which KVM adds where vmx is on anyway).
func hasFlag(cpuinfo, flag string) bool {
	for line := range strings.Lines(cpuinfo) {
		key, value, _ := strings.Cut(line, ":")
		if strings.TrimSpace(key) == "flags" && slices.Contains(strings.Fields(value), flag) {
			return true
		}
	}
	return false
}

// Nested reports whether KVM would let a guest run guests of its own, by its
// modules' parameters in sys (/sys); known is false where none is loaded.
func Nested(sys string) (nested, known bool) {
	for _, module := range []string{"kvm_intel", "kvm_amd"} {
		text, err := os.ReadFile(sys + "/module/" + module + "/parameters/nested")
		if err == nil {
			v := strings.TrimSpace(string(text))
			return v == "Y" || v == "1", true
		}
	}
	return false, false
}
