package policy

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// maxRoutes bounds the routes of a table that are looked at. A host with more is a router
// with the internet's table, whose routes are all specific.
const maxRoutes = 1 << 16

// Kernel asks the kernel of this host, anew for each address, so that a changed network
// counts at once. Rules and tables are the kernel's own affair: the answer is the route
// that a socket of this process, without a mark, would take.
type Kernel struct{}

// Route asks for the route that matches an address (RTM_GETROUTE with RTM_F_FIB_MATCH,
// net/ipv4/route.c and net/ipv6/route.c).
func (Kernel) Route(a netip.Addr) (Route, error) {
	if own, err := isOwn(a); err != nil || own {
		return Route{Reach: Own}, err
	}
	found, err := netlink.RouteGetWithOptions(a.AsSlice(), &netlink.RouteGetOptions{FIBMatch: true})
	switch {
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.EACCES):
		return Route{Reach: NoRoute}, nil
	case err != nil:
		return Route{}, fmt.Errorf("ask for a route: %w", err)
	case len(found) != 1:
		return Route{}, fmt.Errorf("ask for a route: the kernel gave %d", len(found))
	}
	r := found[0]
	switch r.Type {
	case unix.RTN_LOCAL:
		return Route{Reach: Own}, nil
	case unix.RTN_UNREACHABLE, unix.RTN_PROHIBIT, unix.RTN_BLACKHOLE:
		return Route{Reach: NoRoute}, nil
	}
	prefix, err := destination(r, a)
	if err != nil {
		return Route{}, err
	}
	if r.Type != unix.RTN_UNICAST {
		return Route{Reach: BySpecific, Prefix: prefix}, nil
	}
	whole := prefix.Bits() == 0
	if !whole {
		if whole, err = madeDefault(r, prefix); err != nil {
			return Route{}, err
		}
	}
	if whole {
		to, err := byRule(r.Table, prefix, a)
		if err != nil || !to.IsValid() {
			return Route{Reach: ByDefault, Prefix: prefix}, err
		}
		prefix = to
	}
	return Route{Reach: BySpecific, Prefix: prefix}, nil
}

// isOwn looks through the addresses of all interfaces: the kernel's answer for an address
// of a VRF is the default route.
func isOwn(a netip.Addr) (bool, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return false, fmt.Errorf("list the host's addresses: %w", err)
	}
	for _, own := range addrs {
		if n, ok := own.(*net.IPNet); ok {
			if o, ok := netip.AddrFromSlice(n.IP); ok && o.Unmap() == a {
				return true, nil
			}
		}
	}
	return false, nil
}

// destination is a route's, which has none if it is a default one; a is of its family.
func destination(r netlink.Route, a netip.Addr) (netip.Prefix, error) {
	if r.Dst == nil {
		zero := netip.IPv4Unspecified()
		if a.Is6() {
			zero = netip.IPv6Unspecified()
		}
		return netip.PrefixFrom(zero, 0), nil
	}
	to, ok := netip.AddrFromSlice(r.Dst.IP)
	to = to.Unmap()
	ones, bits := r.Dst.Mask.Size()
	if !ok || to.BitLen() != a.BitLen() || bits != a.BitLen() {
		return netip.Prefix{}, fmt.Errorf("read a route: destination %v", r.Dst)
	}
	return netip.PrefixFrom(to, ones), nil
}

// byRule is the destination of the rule (ip-rule(8)) that has the table of a default route asked for
// an address, if that rule is for some destinations only; else it is not valid.
func byRule(table int, prefix netip.Prefix, a netip.Addr) (to netip.Prefix, err error) {
	family := netlink.FAMILY_V4
	if a.Is6() {
		family = netlink.FAMILY_V6
	}
	rules, err := netlink.RuleList(family)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT) { // a kernel without rules
		return to, nil
	}
	if err != nil {
		return to, fmt.Errorf("list the rules of routing: %w", err)
	}
	slices.SortStableFunc(rules, func(x, y netlink.Rule) int { return cmp.Compare(x.Priority, y.Priority) })
	for _, r := range rules {
		if r.Table != table || r.SuppressPrefixlen >= prefix.Bits() {
			continue
		}
		ones := 0
		if r.Dst != nil {
			ones, _ = r.Dst.Mask.Size()
		}
		if ones == 0 || r.Invert {
			return to, nil
		}
		ip, _ := netip.AddrFromSlice(r.Dst.IP)
		if to := netip.PrefixFrom(ip.Unmap(), ones); to.Contains(a) {
			return to, nil
		}
	}
	return to, nil
}

// madeDefault says whether the route with this destination and others of its table with
// the same next hop make a default route together.
func madeDefault(r netlink.Route, prefix netip.Prefix) (bool, error) {
	family, any := netlink.FAMILY_V4, prefix.Addr()
	if any.Is6() {
		family = netlink.FAMILY_V6
	}
	var all []netip.Prefix
	var bad error
	filter := &netlink.Route{Table: r.Table, Type: unix.RTN_UNICAST}
	err := netlink.RouteListFilteredIter(family, filter, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_TYPE, func(o netlink.Route) bool {
		if len(all) == maxRoutes {
			bad = fmt.Errorf("table %d has more than %d routes", r.Table, maxRoutes)
			return false
		}
		if nextHop(o) != nextHop(r) {
			return true
		}
		p, err := destination(o, any)
		if err != nil {
			bad = err
			return false
		}
		all = append(all, p)
		return true
	})
	if err = errors.Join(err, bad); err != nil {
		return false, fmt.Errorf("list routes: %w", err)
	}
	return partOfDefault(prefix, all), nil
}

// nextHop is where a route leads to, comparable.
func nextHop(r netlink.Route) string {
	s := fmt.Sprint(r.LinkIndex, r.Gw, r.Via)
	for _, n := range r.MultiPath {
		s += fmt.Sprint(" ", n.LinkIndex, n.Gw, n.Via)
	}
	return s
}
