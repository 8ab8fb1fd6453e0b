package policy

import (
	"fmt"
	"net/netip"
)

// Class is why an address is closed.
type Class string

const (
	Loopback   Class = "loopback"
	Unspec     Class = "unspecified"
	Private    Class = "private"
	Shared     Class = "shared by a provider's customers" // CGNAT
	LinkLocal  Class = "link-local"
	Metadata   Class = "a cloud's metadata service"
	Multicast  Class = "multicast"
	Broadcast  Class = "broadcast"
	Reserved   Class = "reserved"
	Doc        Class = "for documentation"
	Benchmark  Class = "for benchmarks"
	OwnAddress Class = "the host's own"
	Routed     Class = "routed"  // by a more specific route than a default one
	Unknown    Class = "unknown" // the kernel could not be asked
)

// Closure says why an address is closed.
type Closure struct {
	Class  Class
	Reason string // "10.0.0.5 is private"
	Never  bool   // no rule opens it
}

type closedRange struct {
	prefix netip.Prefix
	class  Class
}

// closedRanges are closed in every profile; of those that hold an address the first
// counts. From IANA's registries of special-purpose addresses, but those that they call
// globally reachable (https://www.iana.org/assignments/iana-ipv4-special-registry,
// https://www.iana.org/assignments/iana-ipv6-special-registry), and the addresses of
// metadata services that clouds document.
var closedRanges = func() (out []closedRange) {
	for _, r := range []struct {
		class    Class
		prefixes []string
	}{
		{Metadata, []string{
			"169.254.169.0/24", "169.254.170.0/24", // EC2, GCE, Azure, OpenStack; ECS and EKS
			"169.254.42.42/32", "169.254.0.23/32", // Scaleway, Tencent
			"100.100.100.200/32", // Alibaba
			"168.63.129.16/32",   // Azure's wire server, a public address
			"192.0.0.192/32",     // Oracle
			"fd00:ec2::/32", "fd20:ce::254/128", "fd00:42::42/128",
		}},
		{Unspec, []string{"0.0.0.0/8", "::/128"}},
		{Loopback, []string{"127.0.0.0/8", "::1/128"}},
		{Private, []string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fec0::/10"}},
		{Shared, []string{"100.64.0.0/10"}},
		{LinkLocal, []string{"169.254.0.0/16", "fe80::/10"}},
		{Multicast, []string{"224.0.0.0/4", "ff00::/8"}},
		{Broadcast, []string{"255.255.255.255/32"}},
		{Doc, []string{"192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20"}},
		{Benchmark, []string{"198.18.0.0/15", "2001:2::/48"}},
		{Reserved, []string{"192.0.0.0/24", "192.88.99.0/24", "240.0.0.0/4", "2001::/23"}},
	} {
		for _, p := range r.prefixes {
			out = append(out, closedRange{netip.MustParsePrefix(p), r.class})
		}
	}
	return out
}()

var (
	globalUnicast = netip.MustParsePrefix("2000::/3") // all of IPv6 that is given out
	nat64         = netip.MustParsePrefix("64:ff9b::/96")
	sixToFour     = netip.MustParsePrefix("2002::/16")
	teredo        = netip.MustParsePrefix("2001::/32")
	compatible    = netip.MustParsePrefix("::/96")
)

// inside are the IPv4 addresses to which an IPv6 address leads: RFC 6052 (NAT64), RFC 3056
// (6to4), RFC 4380 (Teredo: server and client), RFC 4291 (IPv4-compatible).
func inside(a netip.Addr) []netip.Addr {
	b := a.As16()
	switch {
	case !a.Is6():
	case nat64.Contains(a):
		return []netip.Addr{v4(b[12:])}
	case sixToFour.Contains(a):
		return []netip.Addr{v4(b[2:])}
	case teredo.Contains(a):
		for i := 12; i < 16; i++ {
			b[i] ^= 0xff
		}
		return []netip.Addr{v4(b[4:]), v4(b[12:])}
	case compatible.Contains(a) && a != netip.IPv6Unspecified() && a != netip.IPv6Loopback():
		return []netip.Addr{v4(b[12:])}
	}
	return nil
}

func v4(b []byte) netip.Addr { return netip.AddrFrom4([4]byte(b[:4])) }

// classify says whether an address is closed by what it is, on any host. Forms of IPv6
// that hold an IPv4 address are judged by the address inside.
func classify(a netip.Addr) (Closure, bool) {
	switch {
	case !a.IsValid():
		return Closure{Unknown, "there is no address", true}, true
	case a.Zone() != "":
		return closure(a, LinkLocal, "an address with a zone"), true
	}
	a = a.Unmap()
	in := inside(a)
	for _, v4 := range in {
		if c, closed := classify(v4); closed {
			c.Reason = fmt.Sprintf("%s leads to a closed address: %s", a, c.Reason)
			return c, true
		}
	}
	if len(in) > 0 && !compatible.Contains(a) {
		return Closure{}, false
	}
	for _, r := range closedRanges {
		if r.prefix.Contains(a) {
			return closure(a, r.class, string(r.class)), true
		}
	}
	if a.Is6() && !globalUnicast.Contains(a) {
		return closure(a, Reserved, string(Reserved)), true
	}
	return Closure{}, false
}

func closure(a netip.Addr, class Class, words string) Closure {
	return Closure{class, fmt.Sprintf("%s is %s", a, words), class.never() || a.Zone() != ""}
}

// never says whether nothing opens addresses of a class.
func (c Class) never() bool {
	switch c {
	case Loopback, Unspec, Metadata, Multicast, Broadcast, OwnAddress, Unknown:
		return true
	}
	return false
}
