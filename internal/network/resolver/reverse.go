package resolver

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// Types that dnsmessage has no name for (RFC 5936, RFC 1995).
const (
	typeIXFR Type = 251
	typeAXFR Type = 252
)

// typeName is a type's name as people write it: "A", "TXT", "TYPE99".
func typeName(t Type) string {
	name, ok := strings.CutPrefix(t.String(), "Type")
	if !ok {
		return "TYPE" + strconv.Itoa(int(t))
	}
	return name
}

// codeName is a response code's name as people write it (RFC 1035, 4.1.1).
func codeName(c dnsmessage.RCode) string {
	switch c {
	case dnsmessage.RCodeServerFailure:
		return "SERVFAIL"
	case dnsmessage.RCodeRefused:
		return "REFUSED"
	case dnsmessage.RCodeFormatError:
		return "FORMERR"
	case dnsmessage.RCodeNotImplemented:
		return "NOTIMP"
	}
	return "the code " + strconv.Itoa(int(c))
}

// reverseAddr reads a clean name below in-addr.arpa (RFC 1035, 3.5) or ip6.arpa
// (RFC 3596, 2.5) as the address that it stands for.
func reverseAddr(name string) (netip.Addr, bool) {
	if digits, ok := strings.CutSuffix(name, ".in-addr.arpa"); ok {
		labels := strings.Split(digits, ".")
		slices.Reverse(labels)
		a, err := netip.ParseAddr(strings.Join(labels, "."))
		return a, err == nil && a.Is4()
	}
	digits, ok := strings.CutSuffix(name, ".ip6.arpa")
	labels := strings.Split(digits, ".")
	if !ok || len(labels) != 32 {
		return netip.Addr{}, false
	}
	slices.Reverse(labels)
	var b [16]byte
	for i, l := range labels {
		n, err := strconv.ParseUint(l, 16, 4)
		if err != nil || len(l) != 1 {
			return netip.Addr{}, false
		}
		b[i/2] = b[i/2]<<4 | byte(n)
	}
	return netip.AddrFrom16(b), true
}
