// Package firecracker is the driver for Firecracker: a machine of virtio-mmio
// devices on KVM, configured over the API of a socket before it boots.
//
// Each VMM works in a directory of its own, where kernel, initrd, disks and
// sockets have fixed names: every path that it is told is relative, so that a
// snapshot can be loaded in another directory. The directory is made by Launch
// and gone after the machine.
//
// When the host's disk is full, Firecracker gives the guest an input/output error
// and runs on: it can't hold the guest still, so the machine is no vmm.Reporter and
// no vmm.Continuer. The guest's kernel remounts its file system read-only then.
//
// The VMM's sockets are dialled by descriptor, so a run directory that is swept
// after the launch costs nothing. One that is swept before the guest's hello costs
// the boot: the guest finds nobody to say it to.
//
// The API's calls and their order are upstream's
// (src/firecracker/swagger/firecracker.yaml). There is no SDK between: Go's
// ties the VMM's life to the context that started it.
package firecracker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"banger/internal/kvm"
	"banger/internal/vmm"
	"banger/internal/vmm/program"
)

// Name is the driver's name, as in --vmm.
const Name = "firecracker"

// minVersion is the first that takes all that is asked of it here.
const (
	minMajor = 1
	minMinor = 10
)

// discardMinor is the version whose disks take discards.
const discardMinor = 17

// maxVCPUs is Firecracker's own limit (MAX_SUPPORTED_VCPUS).
const maxVCPUs = 32

// Config is what a Driver needs to know.
type Config struct {
	Launcher string // path of the program with the verb launch: bangerd
	Binary   string // path of Firecracker; "" looks for it in PATH
}

// Driver launches Firecracker. Its methods may be called at once.
type Driver struct {
	config  Config
	program *program.Program
	kvm     func() kvm.Finding // looks at this host, but in tests
}

var _ vmm.Driver = (*Driver)(nil)

// versionLine is the first line of --version: "Firecracker v1.16.1".
var versionLine = regexp.MustCompile(`^Firecracker v([0-9]+\.[0-9]+\.[0-9]+[-.0-9A-Za-z]*)`)

// New returns a driver; nothing is looked at before Probe or Launch.
func New(c Config) *Driver {
	return &Driver{config: c, program: program.New(cmp.Or(c.Binary, Name), versionLine), kvm: func() kvm.Finding { return kvm.Look(kvm.Device, "/proc") }}
}

// Name implements vmm.Driver.
func (d *Driver) Name() string { return Name }

// Probe implements vmm.Driver. Without a KVM that is real there is nothing that
// Firecracker could run on.
func (d *Driver) Probe(ctx context.Context) vmm.Probe {
	p := vmm.Probe{MaxVCPUs: maxVCPUs}
	var err error
	switch p.Path, err = d.program.Find(); {
	case errors.Is(err, program.ErrNotFound):
		p.Why = Name + " is not in PATH"
		return p
	case err != nil:
		p.Why = err.Error()
		return p
	}
	if p.Version, err = d.program.Version(ctx, p.Path, "--version"); err == nil {
		err = checkVersion(p.Version)
	}
	p.Discards = isAtLeast(p.Version, 1, discardMinor)
	if err != nil {
		p.Why = err.Error()
		return p
	}
	found := d.kvm()
	if p.Why = found.String(); found.Usable {
		p.Usable, p.Accel = true, vmm.AccelKVM
	}
	return p
}

// checkVersion refuses what is older than minMajor.minMinor.
func checkVersion(v string) error {
	if isAtLeast(v, minMajor, minMinor) {
		return nil
	}
	return fmt.Errorf("firecracker is version %.40q, %d.%d is needed", v, minMajor, minMinor)
}

func isAtLeast(v string, wantMajor, wantMinor int) bool {
	parts := strings.SplitN(v, ".", 3)
	if len(parts) != 3 {
		return false
	}
	major, err1 := strconv.Atoi(parts[0])
	minor, err2 := strconv.Atoi(parts[1])
	return err1 == nil && err2 == nil && (major > wantMajor || major == wantMajor && minor >= wantMinor)
}
