package api

import (
	"net/netip"

	"banger/internal/vm"
)

// Ports are the TCP ports that listen in a VM's guest, and what is forwarded to them.
type Ports struct {
	ID   vm.ID  `json:"id"`
	Name string `json:"name"`
	// Own is the VM's own address on this host, which NAME.vm is resolved to.
	Own     netip.Addr `json:"own"`
	Running bool       `json:"running"`
	// SSH is the command by which the VM's SSH service answers, once the user's clients have
	// banger's configuration; "" if the VM does not run.
	SSH string `json:"ssh,omitempty"`
	// Auto says that each port is forwarded to on the VM's own address.
	Auto  bool   `json:"auto,omitempty"`
	Ports []Port `json:"ports"`
	// More is how many sockets listen in the guest that are not listed.
	More int `json:"more,omitempty"`
}

// Port is a port of the guest's. Addr is invalid if nothing listens there now, but a
// forward is to it.
type Port struct {
	Port    uint16     `json:"port"`
	Addr    netip.Addr `json:"addr,omitzero"`
	Process string     `json:"process,omitempty"` // as the guest says, escaped
	PID     int        `json:"pid,omitempty"`     // in the guest
	// Endpoint is the address on this host where the port answers; invalid if it does not.
	Endpoint netip.AddrPort `json:"endpoint,omitzero"`
	// Problem says why a forward to it does not listen, or who else answers at its
	// address on the host.
	Problem string `json:"problem,omitempty"`
}

// Forward changes the forwards of a VM, at once if it runs, and at each start.
type Forward struct {
	Add    []vm.Forward     `json:"add,omitempty"`
	Remove []netip.AddrPort `json:"remove,omitempty"` // the forwards' addresses on the host
}
