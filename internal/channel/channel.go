// Package channel carries streams between the host and one guest.
//
// Above it, only the interfaces Carrier (the host's end) and Guest (the
// guest's end) are seen; below it lies whatever the VMM offers: two
// virtio-serial ports (QEMU) or a hybrid vsock socket (Firecracker). The
// guest says hello once a launch; after that the host opens every stream, by
// port. It knows nothing of what is said on a stream: package
// channel/control and package channel/exec do.
package channel

import (
	"context"
	"net"
)

// Ports of the guest's services. All are below 1024, so that an unprivileged
// process in the guest can't take one over on vsock.
const (
	PortHello   uint32 = 1000 // guest to host, once a launch
	PortControl uint32 = 1001 // HTTP+JSON, see package channel/control
	PortExec    uint32 = 1002 // one stream a process, see package channel/exec
	PortSSH     uint32 = 1003 // stock SSH clients, through a ProxyCommand
	PortFlow    uint32 = 1004 // carriers of the guest's network, see package channel/flow
)

// Protocol is the version of everything said on the channel. The host keeps
// the last two: agents live on in snapshots, and in VMs that run on over an upgrade.
// An agent ignores what it does not know, so what has to be heeded needs a version
// (Needs of what is said): 2 brought a command's user, the shell on the console, a
// disk's size, and time zone, no init and no root of an identity; 3 brought the network.
const (
	Protocol    = 3
	ProtocolMin = 1
)

// MaxHello bounds a hello's JSON, in bytes.
const MaxHello = 4 << 10

// Hello is the guest's first word of a launch: what it is, not who.
type Hello struct {
	Protocol int    `json:"protocol"`
	Agent    string `json:"agent"`   // the agent's version, at most 64 bytes
	Kernel   string `json:"kernel"`  // uname -r, at most 64 bytes
	BootID   string `json:"boot_id"` // the guest's /proc/sys/kernel/random/boot_id
}

// Stream is a connection whose writing half can be ended alone. The side that
// carries the result decides the end.
type Stream interface {
	net.Conn
	CloseWrite() error
}

// Carrier is the host's end of one running VM's channel. All methods may be
// called at once from several goroutines.
type Carrier interface {
	// Hello waits for the guest's hello and returns it; one hello is accepted
	// a launch, and a second call returns the same one.
	Hello(ctx context.Context) (Hello, error)
	// Dial opens a stream to the guest's service on port. ctx bounds only the
	// opening.
	Dial(ctx context.Context, port uint32) (Stream, error)
	// Drop ends all streams and keeps the channel: the guest's agent is known to be
	// gone, or to hang. A later Dial reaches the agent that there is then.
	Drop()
	// Close ends all streams.
	Close() error
}

// Guest is the guest's end.
type Guest interface {
	// Hello says hello to the host. It is called once, before any Listen is
	// answered.
	Hello(ctx context.Context, h Hello) error
	// Listen takes a port. The connections that it accepts are Streams.
	Listen(port uint32) (net.Listener, error)
	Close() error
}
