package qemu

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"banger/internal/kvm"
	"banger/internal/vmm"
	"banger/internal/vmm/program"
)

// versionLine is the first line of --version:
// "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)".
var versionLine = regexp.MustCompile(`^QEMU emulator version ([0-9]+(?:\.[0-9]+){1,3})`)

// featureSandbox is a QEMU that was built with seccomp.
const featureSandbox = "sandbox"

// Probe implements vmm.Driver. A binary is asked for its version once, until
// its file changes.
func (d *Driver) Probe(ctx context.Context) vmm.Probe {
	path, err := d.find()
	if err != nil {
		return vmm.Probe{Why: err.Error()}
	}
	p := vmm.Probe{Path: path, MaxVCPUs: maxVCPUs, Discards: true}
	// QEMU reads its arguments in their order, and one that was built without
	// seccomp refuses the first before it says its version.
	p.Version, err = d.program.Version(ctx, path, "-sandbox", "on", "--version")
	if err == nil {
		p.Features = []string{featureSandbox}
	} else if p.Version, err = d.program.Version(ctx, path, "--version"); err != nil {
		p.Why = err.Error()
		return p
	}
	p.Usable, p.Accel = true, vmm.AccelTCG
	found := kvm.Look(kvm.Device, "/proc")
	if p.Why = found.String(); found.Usable {
		p.Accel = vmm.AccelKVM
	}
	return p
}

func (d *Driver) find() (string, error) {
	path, err := d.program.Find()
	if errors.Is(err, program.ErrNotFound) {
		return "", fmt.Errorf("%s is not in PATH (Debian: apt-get install qemu-system-x86)", programName)
	}
	if err != nil {
		return "", fmt.Errorf("find QEMU: %w", err)
	}
	return path, nil
}
