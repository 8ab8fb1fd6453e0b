// Package standin is a driver whose VMM has no kernel: its guest is a process
// of the host that answers as a guest's agent does, in milliseconds. The owner
// of VMs, the supervisor and the CLI can be tested with it, their recovery and
// races above all.
//
// It proves no promise. Commands are the host's own, run as the user in the
// VM's directory guest, with the user's rights: nothing keeps them from the
// host's files. They have no network, no capabilities, and end with the VMM.
//
// A machine is two processes, as a VMM and its guest are:
//
//	bangerd standin vmm      what Machine.Process names and a test kills
//	bangerd standin guest    says hello, serves control and exec; ends with the
//	                         VMM, and all of its commands with it
//
// What a guest does that a test asks for is in Behaviour. Its commands reboot,
// poweroff and panic end it from inside, and fill fills its disk.
package standin

import (
	"context"
	"fmt"
	"os"

	"banger/internal/vm"
	"banger/internal/vmm"
)

// Name is the driver's name, as in --vmm.
const Name = "standin"

// Verb is the verb of bangerd for which Main is.
const Verb = "standin"

// Accel is what Probe names: no acceleration that comes before any other.
const Accel = "none"

// version of the stand-in, and the most that its machines have.
const (
	version  = "1"
	maxVCPUs = 64
)

// Config is what a Driver needs to know.
type Config struct {
	Launcher string // path of the program with the verbs launch and Verb: bangerd
}

// Driver launches stand-ins. Its methods may be called at once.
type Driver struct {
	config Config
	verb   string // Verb, but in the driver's own tests
}

var _ vmm.Driver = (*Driver)(nil)

// New returns a driver. Among a program's drivers it comes last.
func New(c Config) *Driver { return &Driver{config: c, verb: Verb} }

// Name implements vmm.Driver.
func (d *Driver) Name() string { return Name }

// Probe implements vmm.Driver. A stand-in can be used anywhere.
func (d *Driver) Probe(context.Context) vmm.Probe {
	return vmm.Probe{
		Usable: true, Path: d.config.Launcher, Version: version, Accel: Accel, MaxVCPUs: maxVCPUs,
		Why: "a stand-in for tests, without a kernel and without a barrier",
	}
}

// check refuses what a VMM would not take.
func check(s vmm.Spec) error {
	switch {
	case s.VCPUs > maxVCPUs:
		return fmt.Errorf("%d vCPUs: the stand-in takes 1 to %d", s.VCPUs, maxVCPUs)
	case s.MemMiB > vm.MaxMemMiB:
		return fmt.Errorf("%d MiB of memory: the stand-in takes up to %d", s.MemMiB, vm.MaxMemMiB)
	case len(s.Cmdline) > vmm.MaxCmdline:
		return fmt.Errorf("command line of %d bytes: the kernel reads %d", len(s.Cmdline), vmm.MaxCmdline)
	}
	if s.Kernel == "" && s.Initrd == "" { // it boots nothing
		s.Kernel, s.Initrd = os.DevNull, os.DevNull
	}
	return s.Check()
}

// Kernelless implements vmm.Kernelless.
func (d *Driver) Kernelless() bool { return true }
