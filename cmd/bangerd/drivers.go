package main

import (
	"banger/internal/vmm"
	"banger/internal/vmm/firecracker"
	"banger/internal/vmm/qemu"
)

// drivers are the VMMs of this build, the preferred one first; program is bangerd.
func drivers(program string) vmm.Drivers {
	return append(vmm.Drivers{
		firecracker.New(firecracker.Config{Launcher: program}),
		qemu.New(qemu.Config{Launcher: program}),
	}, standIns(program)...)
}
