package egress

import "time"

// Event is something that the guest wanted of the network and did not get. What comes of the
// guest is as it sent it: to be escaped.
type Event struct {
	Time   time.Time `json:"time"`
	Name   string    `json:"name,omitempty"`
	Addr   string    `json:"addr,omitempty"`
	Port   uint16    `json:"port,omitempty"`
	Proto  string    `json:"proto"` // tcp, udp, icmp, dns
	Reason string    `json:"reason"`
	// Failed says that the policy allowed it: the host could not do it.
	Failed bool `json:"failed,omitempty"`
	// Allow is the flag that would allow it; empty if none would.
	Allow string `json:"allow,omitempty"`
	// Process is who asked, as the guest says.
	Process string `json:"process,omitempty"`
	// Count is how often it happened in a row; Record takes 0 for once.
	Count int `json:"count"`
}

// Same reports whether two events differ in their times and counts only.
func (e Event) Same(o Event) bool {
	e.Time, e.Count, o.Time, o.Count = time.Time{}, 0, time.Time{}, 0
	return e == o
}
