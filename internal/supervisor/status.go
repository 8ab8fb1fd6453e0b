package supervisor

import (
	"fmt"
	"sync"
	"time"

	"banger/internal/vm"
)

// Phase is how far a run is; the package comment draws them.
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

// Heartbeat is the longest pause in the stream of events: a supervisor that is
// silent for several of them does not answer.
const Heartbeat = 2 * time.Second

// Status is a run as its supervisor sees it. The stream of events carries one
// whenever it changes, and one each Heartbeat.
type Status struct {
	Protocol   int         `json:"protocol"`
	ID         vm.ID       `json:"id"`
	Phase      Phase       `json:"phase"`
	Supervisor vm.Process  `json:"supervisor"`
	VMM        *vm.Process `json:"vmm,omitempty"`
	// Gaps says, a line each, what of the VMM's confinement could not be applied.
	Gaps []string `json:"gaps,omitempty"`
	// Text says in a few words what the run is doing.
	Text string `json:"text,omitempty"`
	// BootID is the guest's own; "" before its hello.
	BootID string `json:"boot_id,omitempty"`
	// AgentProtocol is the channel.Protocol of the guest's agent; 0 before its hello.
	AgentProtocol int `json:"agent_protocol,omitempty"`
	// Held says why the VMM holds the guest still; "" if it does not.
	Held      string    `json:"held,omitempty"`
	HeldSince time.Time `json:"held_since,omitzero"`
	// Silent says why the guest does not answer now, although neither Held nor its agent's
	// end does; "" if it answers, as far as that is known.
	Silent string `json:"silent,omitempty"`
	// AgentGoneSince is when the guest's agent stopped to answer; zero if it
	// answers.
	AgentGoneSince time.Time `json:"agent_gone_since,omitzero"`
	// AgentEndedAt is when an agent last ended, or was given up, and the sessions with
	// it; zero if none did. Another one may answer by now.
	AgentEndedAt time.Time `json:"agent_ended_at,omitzero"`
	// OutOfMemory is the last time that the guest's kernel killed a process because
	// the guest had no memory left; nil if it did not.
	OutOfMemory *vm.OutOfMemory `json:"out_of_memory,omitempty"`
	// Disk is what the guest's agent has found of the VM's disk.
	Disk vm.DiskState `json:"disk,omitempty"`
	// Denied counts what the guest wanted of the network and did not get, but for what
	// came several times in a row.
	Denied int `json:"denied,omitempty"`
	// NotForwarded says, a line each, which forwards of the order could not be made.
	NotForwarded []string `json:"not_forwarded,omitempty"`
	// Ending is set in the phase Gone.
	Ending *vm.Ending `json:"ending,omitempty"`
	// Failed says that the run ended before it was ready.
	Failed bool `json:"failed,omitempty"`
}

// agentGone says since when the agent does not answer; "" if it answers.
func (s Status) agentGone() string {
	if s.AgentGoneSince.IsZero() {
		return ""
	}
	return fmt.Sprintf("the guest's agent does not answer (gone since %s)", s.AgentGoneSince.Format(time.RFC3339))
}

// board holds the status for all who read it.
type board struct {
	mu      sync.Mutex
	status  Status
	changed chan struct{} // closed and replaced when status changes
}

func (b *board) update(change func(*Status)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(&b.status)
	close(b.changed)
	b.changed = make(chan struct{})
}

// now returns the status, and a channel that is closed at its next change.
func (b *board) now() (Status, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.status, b.changed
}
