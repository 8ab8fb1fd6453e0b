// Package netflow is what the two ends of a guest's network say in the headers of their
// flows (package channel/flow): the agent asks for what a process of the guest wants of
// the network, and the host asks for what listens in the guest.
package netflow

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"
)

// Kinds of flows. The guest opens the first four, the host the others.
const (
	// Connect asks the host for a TCP connection to Addr. The flow is accepted when it is
	// there, and carries its bytes.
	Connect = "connect"
	// DNS carries questions to port 53, as they are on TCP: 2 bytes of length before
	// each message; and the answers in their order.
	DNS = "dns"
	// Ping asks the host to send an echo request to Addr, with the flow's bytes as its
	// data. The flow is accepted when the policy allows it, and carries the answer's data; it is
	// reset if there is no answer.
	Ping = "ping"
	// Note tells the host of a datagram that goes nowhere. It is refused when it is recorded.
	Note = "note"
	// Listener asks the agent for a connection to a port on the guest's own addresses.
	Listener = "listener"
	// Denial tells the agent what of the guest's was denied, before the process that asked has its
	// answer. The agent keeps Text for the programs in the guest, and refuses the flow, with the
	// code Denied and the process's name and number as its text, "" if it is not found.
	Denial = "denial"
)

// Codes of refusals, as the process in the guest sees them.
const (
	Refused     = 1 + iota // connection refused: RST
	Unreachable            // no route to host, or no answer in time
	Denied                 // the policy: administratively prohibited
	Busy                   // a limit of the VM's is reached: RST
)

// WhoLimit is for how long the host waits to hear which process asked for what it denies, and
// then records the denial without.
const WhoLimit = 2 * time.Second

// MaxProcess bounds the name and number of a process, in bytes.
const MaxProcess = 64

// Protocols of what is denied, as From of a Denial has a port: of a ping it is the echo's
// identifier.
const (
	TCP  = "tcp"
	UDP  = "udp"
	ICMP = "icmp"
)

// Request is a flow's header.
type Request struct {
	Kind string         `json:"kind"`
	Addr netip.AddrPort `json:"addr,omitzero"`
	// From is the guest's end, but of a Listener.
	From netip.AddrPort `json:"from,omitzero"`
	// Proto is what carries a Denial's packets: TCP, UDP or ICMP.
	Proto string `json:"proto,omitempty"`
	// TCP says that the DNS question came by TCP.
	TCP bool `json:"tcp,omitempty"`
	// Text is a Denial's, for people: what was denied, why, and what would allow it.
	Text string `json:"text,omitempty"`
}

// Marshal is r as a flow's header.
func (r Request) Marshal() []byte {
	text, err := json.Marshal(r)
	if err != nil {
		panic(err) // nothing in it can't be said
	}
	return text
}

// Parse reads a header.
func Parse(header []byte) (Request, error) {
	var r Request
	if err := json.Unmarshal(header, &r); err != nil {
		return r, fmt.Errorf("read a flow's header: %w", err)
	}
	return r, nil
}
