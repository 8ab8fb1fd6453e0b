package vm

import (
	"fmt"
	"slices"
)

// How a guest is connected.
const (
	NetUser = "user" // through the VM's channel
	NetNone = "none" // not at all
)

// What a guest reaches without rules.
const (
	EgressDeny   = "deny"
	EgressDev    = "dev"
	EgressPublic = "public"
)

// Network is how a guest is connected, and what it may reach. What is empty is the
// configuration's at each start.
type Network struct {
	Mode   string `json:"mode,omitempty"`   // NetUser, NetNone
	Egress string `json:"egress,omitempty"` // EgressDeny, EgressDev, EgressPublic
	// Allow and Deny are rules as they are typed; package network/policy reads them.
	Allow []string `json:"allow,omitempty"`
	Deny  []string `json:"deny,omitempty"`
	// Publish are the guest's ports that are forwarded to; AutoForward does it with each
	// that listens, on the VM's own address (ID.Loopback), MaxForwards at most.
	Publish     []Forward `json:"publish,omitempty"`
	AutoForward bool      `json:"auto_forward,omitempty"`
}

// Check reports the first field that can't be used, as a *FieldError. It does not read
// the rules.
func (n Network) Check() error {
	if !slices.Contains([]string{"", NetUser, NetNone}, n.Mode) {
		return &FieldError{"net", fmt.Errorf("%q is neither %s nor %s", n.Mode, NetUser, NetNone)}
	}
	if !slices.Contains([]string{"", EgressDeny, EgressDev, EgressPublic}, n.Egress) {
		return &FieldError{"egress", fmt.Errorf("%q is neither %s, %s nor %s", n.Egress, EgressDeny, EgressDev, EgressPublic)}
	}
	if err := checkForwards(n.Publish); err != nil {
		return &FieldError{"publish", err}
	}
	if n.Mode != NetNone {
		return nil
	}
	for _, x := range []struct {
		field, why string
		asked      bool
	}{
		{"egress", "reaches nothing", n.Egress != ""},
		{"allow", "reaches nothing", len(n.Allow) > 0},
		{"deny", "reaches nothing", len(n.Deny) > 0},
		{"publish", "has no port to forward to", len(n.Publish) > 0},
		{"auto-forward", "has no port to forward to", n.AutoForward},
	} {
		if x.asked {
			return &FieldError{x.field, fmt.Errorf("a VM without a network (--net %s) %s", NetNone, x.why)}
		}
	}
	return nil
}
