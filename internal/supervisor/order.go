// Package supervisor is one running VM: it launches the VMM, brings the guest
// up to its joined root, owns the channel and the console, answers sessions,
// ends the guest, and writes down how it ended.
//
// It runs as a process of its own (bangerd supervise), started by the daemon
// and independent of it: the daemon may die, be upgraded and come back. It
// writes only inside its VM's directory. Client is the daemon's side of it.
package supervisor

import (
	"time"

	"banger/internal/vm"
	"banger/internal/vmm"
)

// SpecFile is the order that the daemon leaves in the VM's directory, and
// RunFile what the supervisor writes there of the run's end.
const (
	SpecFile = "launch.json"
	RunFile  = "run.json"
	LogFile  = "supervisor.log"
)

// Spec is one run of a VM, all paths absolute.
type Spec struct {
	ID     vm.ID  `json:"id"`
	Name   string `json:"name"`
	Dir    string `json:"dir"`
	RunDir string `json:"run_dir"`
	VCPUs  int    `json:"vcpus"`
	MemMiB int64  `json:"mem_mib"`
	Driver string `json:"driver"` // a driver's name, never "auto"
	// Found is what that driver found when it was chosen.
	Found  vmm.Probe `json:"found"`
	Kernel string    `json:"kernel"`
	Initrd string    `json:"initrd"`
	Disks  []Disk    `json:"disks"`
	Op     string    `json:"op"` // the operation's id in the log
}

// Disk is one of the guest's disks, in order.
type Disk struct {
	Path     string `json:"path"`
	ReadOnly bool   `json:"read_only"`
}

// Limits of a run. A guest on KVM is ready in a second or two, on a KVM that is
// emulated itself, with others beside it, in a minute. An emulated guest is about
// ten times slower.
const (
	bootLimitKVM      = 2 * time.Minute
	bootLimitEmulated = 5 * time.Minute
	graceKVM          = 10 * time.Second
	graceEmulated     = 30 * time.Second
	syncLimit         = 5 * time.Second
)

// Phase is how far a run is.
type Phase string

// The phases, in order; a run can end in any of them.
const (
	Launching Phase = "launching" // the VMM is being started
	Booting   Phase = "booting"   // the VMM runs, the guest has not said hello
	Joining   Phase = "joining"   // the guest said hello and is joining its root
	Ready     Phase = "ready"     // the root is joined: sessions are answered
	Ending    Phase = "ending"    // the guest was asked to end
	Gone      Phase = "gone"      // the VMM is gone; the supervisor ends
)

// Status is a run as its supervisor sees it. The stream of events carries one
// whenever it changes.
type Status struct {
	ID         vm.ID       `json:"id"`
	Phase      Phase       `json:"phase"`
	Supervisor vm.Process  `json:"supervisor"`
	VMM        *vm.Process `json:"vmm,omitempty"`
	// Gaps is what of the VMM's confinement could not be applied, a line each.
	Gaps []string `json:"gaps,omitempty"`
	// Text says the phase in words.
	Text string `json:"text,omitempty"`
	// Ending is set in the phase Gone.
	Ending *vm.Ending `json:"ending,omitempty"`
	// Failed says that the run ended before it was ready.
	Failed bool `json:"failed,omitempty"`
}

// Stop asks for the end of a run.
type Stop struct {
	// Discard skips the guest's services: its file systems are synced, then the
	// VMM is ended. For a VM that is deleted.
	Discard bool `json:"discard"`
	// Cancelled says that the run was given up before it was ready.
	Cancelled bool `json:"cancelled"`

	host bool // the host asked, with SIGTERM
}

func (s Stop) detail() string {
	if s.host {
		return "the host asked for it, as its shutdown does"
	}
	return ""
}

// Paths of the supervisor's socket, HTTP/1.1.
const (
	pathStatus  = "/v1/status"  // GET Status
	pathEvents  = "/v1/events"  // GET, a Status a line until the end
	pathStop    = "/v1/stop"    // POST Stop, answers at once
	pathDial    = "/v1/dial"    // GET ?port=N, Upgrade: banger-stream
	pathConsole = "/v1/console" // GET ?follow=true, raw bytes
)

// Upgrade is the protocol that a dialled connection turns into: raw bytes to
// the guest's service.
const Upgrade = "banger-stream"
