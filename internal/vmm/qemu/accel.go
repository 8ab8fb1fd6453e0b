package qemu

import "banger/internal/kvm"

// Accelerators, as in QEMU's -accel.
const (
	accelKVM = "kvm"
	accelTCG = "tcg"
)

// chooseAccel takes KVM where package kvm finds it usable at a look.
func chooseAccel() (accel, why string) {
	f := kvm.Look(kvm.Device, "/proc")
	if f.Usable {
		return accelKVM, f.Why
	}
	return accelTCG, f.String()
}
