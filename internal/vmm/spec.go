package vmm

import "banger/internal/vm"

// Spec is a machine to launch. All paths are absolute.
type Spec struct {
	ID     vm.ID  `json:"id"`
	Dir    string `json:"dir"`     // the VM's own directory; the driver may write in it
	RunDir string `json:"run_dir"` // a directory for the VM's sockets, 0700
	VCPUs  int    `json:"vcpus"`
	MemMiB int64  `json:"mem_mib"`
	Kernel string `json:"kernel"` // ELF vmlinux
	Initrd string `json:"initrd"`
	// Cmdline is what every guest needs; the driver adds its console and its own
	// arguments.
	Cmdline string `json:"cmdline,omitempty"`
	// Found, if it is usable, is the result of this driver's Probe, in this process
	// or another: Launch does not look again.
	Found Probe  `json:"found"`
	Disks []Disk `json:"disks"` // in order: vda, vdb, …
}

// Disk is a raw image given to the guest.
type Disk struct {
	Path     string `json:"path"`
	ReadOnly bool   `json:"read_only"`
}

// Accelerators, as Probe names them.
const (
	AccelKVM = "kvm"
	AccelTCG = "tcg" // the guest's instructions are translated: emulation
)

// Emulated reports whether the guest's instructions are translated.
func (s Spec) Emulated() bool { return s.Found.Accel != AccelKVM }

// Probe is what a driver found out about this host.
type Probe struct {
	Usable  bool   `json:"usable"`
	Path    string `json:"path"` // the VMM's program
	Version string `json:"version"`
	Accel   string `json:"accel"` // AccelKVM or AccelTCG
	Why     string `json:"why"`   // why this acceleration, or why it can't be used
	// Discards says that what the guest discards of a disk goes back to the host.
	Discards bool     `json:"discards,omitempty"`
	MaxVCPUs int      `json:"max_vcpus"`          // the most that a machine of this VMM has
	Features []string `json:"features,omitempty"` // what the driver wants to know of its program
}
