package qemu

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"banger/internal/channel"
	"banger/internal/vmm"
)

// maxVCPUs is what a q35 machine takes without an IOMMU of its own: APIC ids
// above 254 need interrupt remapping (QEMU, hw/i386/x86.c).
const maxVCPUs = 255

// maxDisks is what fits on the root bus between firstDiskSlot and the
// chipset's own functions in slot 31.
const (
	maxDisks      = 16
	firstDiskSlot = 8
)

// tbMiB bounds QEMU's cache of translated code, in MiB; QEMU's own choice is
// up to 1024, which would count as the VM's memory on the host.
const tbMiB = 256

// emulatedCPU has all that QEMU can emulate but the promise of a fast "rep movsb"
// (ERMS, FSRM): QEMU emulates that byte by byte, while kernel and C library, told
// that it is fast, copy by it. Without the promise a guest's pipe carries three
// times as much, and a boot takes a sixth less time.
const emulatedCPU = "max,-erms,-fsrm"

// Descriptors that QEMU inherits, in the order of launch.Spec.Files.
const (
	fdQMP = 3 + iota
	fdConsole
	fdControl
	fdStreams
	fdEnd
)

// baseCmdline is the driver's own part of the guest's command line: reboot=k
// and panic=-1 make every end of the guest a reset, which -no-reboot turns
// into QEMU's end. no_timer_check leaves out the kernel's test of the timer, which
// counts ticks while it spins: under emulation on a busy host too few come, and it
// panics ("IO-APIC + timer doesn't work", arch/x86/kernel/apic/io_apic.c).
const baseCmdline = "console=ttyS0 reboot=k panic=-1 no_timer_check"

// arguments is QEMU's argument list for s; sandboxed asks for its sandbox.
func arguments(s vmm.Spec, accel string, sandboxed bool) ([]string, error) {
	if err := check(s); err != nil {
		return nil, err
	}
	args := []string{
		"-name", string(s.ID),
		"-nodefaults", "-no-user-config", "-no-reboot",
		"-display", "none",
		"-M", "q35",
		"-smp", strconv.Itoa(s.VCPUs),
		"-m", strconv.FormatInt(s.MemMiB, 10) + "M",
	}
	if sandboxed {
		args = append(args, "-sandbox", sandbox)
	}
	if accel == vmm.AccelKVM {
		args = append(args, "-accel", "kvm", "-cpu", "host")
	} else {
		args = append(args, "-accel", fmt.Sprintf("tcg,thread=multi,tb-size=%d", tbMiB), "-cpu", emulatedCPU)
	}
	args = append(args,
		"-kernel", s.Kernel,
		"-initrd", s.Initrd,
		"-append", cmdline(s),
		"-chardev", inherited("qmp", fdQMP), "-mon", "chardev=qmp,mode=control",
		"-chardev", inherited("console", fdConsole), "-serial", "chardev:console",
		"-chardev", inherited("control", fdControl),
		"-chardev", inherited("streams", fdStreams),
		// QEMU reports only ports with an id when the guest opens and closes them
		// (hw/char/virtio-console.c, set_guest_connected).
		"-device", "virtio-serial-pci,id=ports,max_ports=3,addr=4",
		"-device", "virtserialport,bus=ports.0,nr=1,chardev=control,id="+channel.SerialControl+",name="+channel.SerialControl,
		"-device", "virtserialport,bus=ports.0,nr=2,chardev=streams,id="+channel.SerialStreams+",name="+channel.SerialStreams,
		"-device", "virtio-rng-pci,addr=5",
	)
	for i, d := range s.Disks {
		node, err := blockNode(i, d)
		if err != nil {
			return nil, err
		}
		// The guest names disks in the order of their slots.
		device := fmt.Sprintf("virtio-blk-pci,drive=%s,addr=%#x", nodeName(i), firstDiskSlot+i)
		if !d.ReadOnly {
			// Whatever error a write meets holds the machine still until it is tried again
			// with success: a guest that is told of it loses what it had not synced.
			// QEMU's default is so for a full disk, and not for a quota.
			device += ",werror=stop"
		}
		args = append(args, "-blockdev", node, "-device", device)
	}
	return args, nil
}

// cmdline is the guest's whole command line.
func cmdline(s vmm.Spec) string { return strings.TrimSpace(baseCmdline + " " + s.Cmdline) }

// check refuses what QEMU would take for something else or not take at all.
func check(s vmm.Spec) error {
	switch {
	case s.VCPUs > maxVCPUs:
		return fmt.Errorf("%d vCPUs: QEMU's q35 machine takes 1 to %d", s.VCPUs, maxVCPUs)
	case len(s.Disks) > maxDisks:
		return fmt.Errorf("%d disks: this machine takes %d", len(s.Disks), maxDisks)
	case len(cmdline(s)) > vmm.MaxCmdline:
		return fmt.Errorf("command line of %d bytes: the kernel reads %d", len(cmdline(s)), vmm.MaxCmdline)
	}
	for _, d := range s.Disks {
		if !utf8.ValidString(d.Path) {
			return fmt.Errorf("disk %q: QEMU takes file names in UTF-8 only", d.Path)
		}
	}
	return s.Check()
}

func inherited(id string, fd int) string { return fmt.Sprintf("socket,id=%s,fd=%d", id, fd) }

// nodeName is a disk's name in QMP.
func nodeName(i int) string { return "disk" + strconv.Itoa(i) }

// blockNode is a disk's -blockdev, as JSON so that a path may hold a comma. The
// cache is the host's, and the guest's flushes reach the disk (QEMU's
// defaults). A writable disk gives back what the guest discards or zeroes, as
// it is sparse. QEMU's own file locks keep a writable disk from a second VM.
func blockNode(i int, d vmm.Disk) (string, error) {
	type file struct {
		Driver   string `json:"driver"`
		Filename string `json:"filename"`
		ReadOnly bool   `json:"read-only"`
		Discard  string `json:"discard,omitempty"`
	}
	type node struct {
		NodeName string `json:"node-name"`
		Driver   string `json:"driver"`
		ReadOnly bool   `json:"read-only"`
		Discard  string `json:"discard,omitempty"`
		File     file   `json:"file"`
	}
	discard := "unmap"
	if d.ReadOnly {
		discard = ""
	}
	text, err := json.Marshal(node{
		NodeName: nodeName(i), Driver: "raw", ReadOnly: d.ReadOnly, Discard: discard,
		File: file{Driver: "file", Filename: d.Path, ReadOnly: d.ReadOnly, Discard: discard},
	})
	return string(text), err
}
