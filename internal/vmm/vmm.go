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

// EventKind names an Event.
type EventKind string

// The kinds of events.
const (
	// AgentGone: the guest closed its end of the channel. Its agent has ended.
	AgentGone EventKind = "agent-gone"
	// AgentBack: the guest opened its end of the channel.
	AgentBack EventKind = "agent-back"
	// HeldStill: the VMM holds the guest still, because the host can't take a write.
	HeldStill EventKind = "held-still"
	// GoesOn: the guest runs again.
	GoesOn EventKind = "goes-on"
)

// Event is something that the VMM reports while its guest runs.
type Event struct {
	Kind EventKind
	Path string // HeldStill: the file that could not be written; "" if it is not known
	Why  string // HeldStill: the host's error, not escaped
	Full bool   // HeldStill: the host has no room
}

// The interfaces below are for what only some VMMs have. A Machine that has it
// implements them; a caller finds out by type assertion.

// Reporter is a Machine that reports events. One goroutine reads the channel,
// which is never closed: it falls silent at the VMM's end. If nobody reads it, the
// oldest events are lost.
type Reporter interface{ Events() <-chan Event }

// Continuer is a Machine whose VMM can hold its guest still. Continue lets the
// guest go on; if the reason lasts, another HeldStill follows.
type Continuer interface {
	Continue(ctx context.Context) error
}

// Grower is a Machine whose disks can be made larger while it runs. Grow tells the guest
// that the file of a disk, by its place in the Spec, has so many bytes now.
type Grower interface {
	Grow(ctx context.Context, disk int, bytes int64) error
}

// Typer is a Machine whose serial console takes input: what is written to Keys
// arrives there as if typed. A write waits while the guest takes none.
type Typer interface{ Keys() Keys }

// Keys is a serial console's input.
type Keys interface {
	io.Writer
	SetWriteDeadline(t time.Time) error
}

// Asker is a Machine whose VMM can be asked whether it still acts. Answers returns
// an error if the VMM has not answered when ctx ends. Its process may live all
// the same: stopped by a signal, frozen, or waiting for the host's disk.
type Asker interface {
	Answers(ctx context.Context) error
}

// Events is a queue of events, for a driver: it never blocks its writer.
type Events chan Event

// NewEvents makes an empty queue.
func NewEvents() Events { return make(Events, 16) }

// Put adds e; if the queue is full, the oldest event is lost. One goroutine
// calls it.
func (q Events) Put(e Event) {
	for {
		select {
		case q <- e:
			return
		default:
		}
		select {
		case <-q:
		default:
		}
	}
}
