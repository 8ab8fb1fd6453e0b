package policy

import (
	"net/netip"
	"slices"
)

// partOfDefault says whether a prefix is one of several by which one next hop reaches all
// public addresses, as VPNs install them: 0.0.0.0/1 and 128.0.0.0/1, 2000::/3, or the
// dozens that are everything but private networks and the VPN's own server.
//
// Only prefixes that lie in no other of them count, but for a default route: else a
// network that a VPN announces beside its halves would be public.
func partOfDefault(prefix netip.Prefix, all []netip.Prefix) bool {
	var widest []netip.Prefix
	part := false
	for _, p := range all {
		inOther := slices.ContainsFunc(all, func(o netip.Prefix) bool {
			return o.Bits() > 0 && o.Bits() < p.Bits() && o.Contains(p.Addr())
		})
		if p.Bits() > 0 && !inOther {
			widest = append(widest, p)
			part = part || p == prefix
		}
	}
	if !part {
		return false
	}
	for _, r := range closedRanges {
		if r.prefix.Addr().Is4() == prefix.Addr().Is4() {
			widest = append(widest, r.prefix)
		}
	}
	space := globalUnicast
	if prefix.Addr().Is4() {
		space = netip.MustParsePrefix("0.0.0.0/0")
	}
	return missing(space, widest, 1) < maxMissing
}

// maxMissing is how much of all public addresses routes may leave out and still be a
// default: a /16 of IPv4. VPNs leave out the address of their server.
const maxMissing = 1.0 / (1 << 16)

// missing is the share of space, which is itself this share of everything, that none of
// the prefixes covers.
func missing(space netip.Prefix, prefixes []netip.Prefix, share float64) float64 {
	var in []netip.Prefix
	for _, p := range prefixes {
		if p.Bits() <= space.Bits() && p.Contains(space.Addr()) {
			return 0
		}
		if space.Contains(p.Addr()) {
			in = append(in, p)
		}
	}
	if len(in) == 0 {
		return share
	}
	low, high := halves(space)
	return missing(low, in, share/2) + missing(high, in, share/2)
}

// halves are a prefix's two, each longer by a bit. The prefix is no single address.
func halves(p netip.Prefix) (low, high netip.Prefix) {
	bits := p.Bits() + 1
	b := p.Addr().AsSlice()
	b[(bits-1)/8] |= 0x80 >> ((bits - 1) % 8)
	top, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(p.Addr(), bits), netip.PrefixFrom(top, bits)
}
