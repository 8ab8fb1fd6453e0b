package api

import "time"

// NetworkLog asks for what a VM's guest wanted of the network and did not get.
type NetworkLog struct {
	Follow bool `json:"follow,omitempty"` // until the run's end
}

// NetworkEvent is a line of that log. What comes of the guest is as it sent it.
type NetworkEvent struct {
	Time   time.Time `json:"time"`
	Name   string    `json:"name,omitempty"`
	Addr   string    `json:"addr,omitempty"`
	Port   int       `json:"port,omitempty"`
	Proto  string    `json:"proto"` // tcp, udp, icmp, dns
	Reason string    `json:"reason"`
	// Failed says that the policy allowed it: the host could not do it.
	Failed bool `json:"failed,omitempty"`
	// Allow is the flag that would allow it; "" if none would.
	Allow string `json:"allow,omitempty"`
	// Process is who asked, as the guest says.
	Process string `json:"process,omitempty"`
	Count   int    `json:"count"` // how often in a row
}

// NetworkQuery asks what would become of a connection too, if Name is not empty.
type NetworkQuery struct {
	Name string `json:"name,omitempty"`
	Port int    `json:"port,omitempty"`
}

// Network is how a VM is connected: of a running one now, of another at its next start.
type Network struct {
	Mode   string        `json:"mode"` // user, none
	Egress string        `json:"egress,omitempty"`
	Rules  []NetworkRule `json:"rules"`
	// Unknown are package clients that the profile would open the way for, if a file of
	// the host said where they fetch from.
	Unknown []string `json:"unknown,omitempty"`
	// Notes are lines about what of the host's configuration does not count.
	Notes []string `json:"notes,omitempty"`
	// Running says that the VM runs; Flows are its connections.
	Running bool           `json:"running"`
	Flows   int            `json:"flows"`
	Check   []NetworkCheck `json:"check,omitempty"`
}

// NetworkRule is a rule of a VM's, and where it is from.
type NetworkRule struct {
	Rule   string `json:"rule"` // the flag that makes it
	Origin string `json:"origin"`
}

// NetworkCheck is what would become of a connection to one address of a name.
type NetworkCheck struct {
	Name   string `json:"name,omitempty"`
	Addr   string `json:"addr,omitempty"`
	Allow  bool   `json:"allow"`
	Reason string `json:"reason"`
	Rule   string `json:"rule,omitempty"` // with its origin, if one decided
	Hint   string `json:"hint,omitempty"` // what would allow it
}
