// Package qemu is the driver for qemu-system-x86_64: a q35 machine with
// virtio-pci devices, on KVM where the host really has it and emulated (TCG)
// anywhere else.
//
// All that QEMU and this package say to each other (QMP, serial console, the
// two channel ports) goes over socket pairs that QEMU inherits: nothing is
// left on the disk, and no path is too long. QEMU is trusted no more than the
// guest that may have taken it over: what it says is bounded.
package qemu

import (
	"cmp"

	"banger/internal/vmm"
	"banger/internal/vmm/program"
)

// Name is the driver's name, as in --vmm.
const Name = "qemu"

// programName is what Probe looks for where Config names none.
const programName = "qemu-system-x86_64"

// Config is what a Driver needs to know.
type Config struct {
	Launcher string // path of the program with the verb launch: bangerd
	Binary   string // path of QEMU; "" looks for qemu-system-x86_64 in PATH
}

// Driver launches QEMU. Its methods may be called at once.
type Driver struct {
	config  Config
	program *program.Program
}

var _ vmm.Driver = (*Driver)(nil)

// New returns a driver; nothing is looked at before Probe or Launch.
func New(c Config) *Driver {
	return &Driver{config: c, program: program.New(cmp.Or(c.Binary, programName), versionLine)}
}

// Name implements vmm.Driver.
func (d *Driver) Name() string { return Name }
