package policy

import (
	"fmt"
	"net/netip"
)

// Reach is how the host reaches an address.
type Reach int

const (
	NoRoute Reach = iota // not at all: a connection fails by itself
	ByDefault
	BySpecific // by a route of its own: a LAN, a VPN's network, a company's
	Own        // it is an address of this host's
)

// Route is how the host would reach an address.
type Route struct {
	Reach  Reach
	Prefix netip.Prefix // the destination of the route that matches, when BySpecific
}

// Routes answers how the host reaches addresses. Kernel does; the answers of a host that
// a test runs on are not those that the test is about.
type Routes interface {
	Route(netip.Addr) (Route, error)
}

// Closed says whether an address is closed in every profile, and why: by what it is, by
// being the host's own, or by being reached by a more specific route than a default one.
// An address about which routes can't be asked is closed.
func Closed(routes Routes, a netip.Addr) (Closure, bool) {
	if c, closed := classify(a); closed {
		return c, true
	}
	a = a.Unmap()
	if c, closed := routed(routes, a); closed {
		return c, true
	}
	for _, v4 := range inside(a) {
		if c, closed := routed(routes, v4); closed {
			c.Reason = fmt.Sprintf("%s leads to a closed address: %s", a, c.Reason)
			return c, true
		}
	}
	return Closure{}, false
}

func routed(routes Routes, a netip.Addr) (Closure, bool) {
	r, err := routes.Route(a)
	switch {
	case err != nil:
		return Closure{Unknown, fmt.Sprintf("how this host reaches %s is not known: %v", a, err), true}, true
	case r.Reach == Own:
		return closure(a, OwnAddress, "this host's own"), true
	case r.Reach == BySpecific:
		return closure(a, Routed, fmt.Sprintf("in %s, which this host reaches by a route of its own", r.Prefix)), true
	}
	return Closure{}, false
}
