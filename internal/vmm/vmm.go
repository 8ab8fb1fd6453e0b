// Package vmm says what a driver of a virtual machine monitor does: launch
// one, wait for it, signal it, carry its channel and its console. The
// contract suite in vmmtest holds every driver to it; nothing above this
// package names a VMM but where a user chooses one.
//
// A driver starts nothing by itself: it says what its VMM may touch, beginning
// with Confine, and hands that to package launch.
package vmm

import (
	"context"
	"io"
	"os"
	"time"

	"banger/internal/channel"
	"banger/internal/vm"
)

// Spec is a machine to launch. All paths are absolute.
type Spec struct {
	ID      vm.ID
	Dir     string // the VM's own directory; the driver may write in it
	RunDir  string // a directory for the VM's sockets, 0700
	VCPUs   int
	MemMiB  int64
	Kernel  string // ELF vmlinux
	Initrd  string
	Cmdline string // what every guest needs; the driver adds its console and its own arguments
	Disks   []Disk // in order: vda, vdb, …
}

// Disk is a raw image given to the guest.
type Disk struct {
	Path     string
	ReadOnly bool
}

// Accelerators, as Probe names them.
const (
	AccelKVM = "kvm"
	AccelTCG = "tcg" // the guest's instructions are translated: emulation
)

// Probe is what a driver found out about this host.
type Probe struct {
	Usable   bool
	Path     string // the VMM's program
	Version  string
	Accel    string // AccelKVM or AccelTCG
	Why      string // why this acceleration, or why it can't be used
	MaxVCPUs int    // the most that a machine of this VMM has
}

// Driver launches machines of one kind of VMM.
type Driver interface {
	Name() string
	// Probe looks at the host and starts at most the VMM's --version.
	Probe(ctx context.Context) Probe
	// Launch starts a VMM. ctx bounds the bring-up of the VMM process until its
	// own interface answers; the machine lives on after it. On an error
	// nothing is left: no process, no socket.
	Launch(ctx context.Context, s Spec) (Machine, error)
}

// Machine is one running VMM. Whoever launched it calls Close in the end.
type Machine interface {
	// Process is the VMM's process.
	Process() vm.Process
	Carrier() channel.Carrier
	// Gaps says in words, a line each, what of the VMM's confinement this host
	// could not apply. It is fixed after Launch.
	Gaps() []string
	// Console is the guest's serial console, raw, from its first byte; read by
	// one goroutine. It ends with the VMM. Whoever launched the machine keeps
	// reading: a full console holds the guest up.
	Console() io.Reader
	// Done is closed when the VMM is gone and waited for.
	Done() <-chan struct{}
	// Exit is valid after Done.
	Exit() Exit
	// Signal signals the VMM's process; after its end it returns os.ErrProcessDone.
	Signal(sig os.Signal) error
	// Close ends the VMM by force if it runs, waits for its end, closes the
	// carrier and removes its sockets. It may be called at any time, twice.
	Close() error
}

// Exit is how a VMM ended.
type Exit struct {
	At     time.Time
	Code   int    // exit status, or -1 after a signal
	Signal int    // the signal, or 0
	Guest  string // what the guest did last, by the VMM's word: "reset", "shutdown", "panic" or ""
	Stderr string // the last 4 KiB of the VMM's own words, not escaped
}
