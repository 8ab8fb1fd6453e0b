// Package resolver answers the DNS queries of one guest with what the host
// itself would find.
//
// Host asks as the host does, anew for each query: a VPN, split DNS or another
// network counts from the next query on. Resolver stands in front of it for one
// VM: it decodes the guest's messages, has each name judged before anybody is
// asked, and pins what it answers (Pins), so that a connection to an address can
// be judged by the name that led there.
//
// It listens on nothing and sends nothing but the host's own queries: the caller
// carries messages from and to the guest. Go without cgo knows no NSS modules;
// names that only a module finds (LDAP, mDNS without systemd-resolved) are not
// found here.
package resolver

import (
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Type is a type of DNS records.
type Type = dnsmessage.Type

// Limits of one query.
const (
	queryLimit = 10 * time.Second // for all servers and tries together
	maxChain   = 8                // CNAMEs between a name and its records
	maxRecords = 64               // of one answer, aliases not counted
	maxMessage = 65535            // bytes, as a length over TCP can say (RFC 1035, 4.2.2)
)

// Clean returns a name as it is judged and pinned: lower case, without the dot
// at its end. The root is "".
func Clean(name string) string {
	return strings.ToLower(strings.TrimSuffix(name, "."))
}

// valid reports whether a clean name can be a host's, or a service's: letters,
// digits, hyphens and underscores in labels of 1 to 63 bytes, 253 bytes at most.
// Any other byte may be in a name of DNS (RFC 2181, 11), but no rule can name it.
func valid(name string) bool {
	if name == "" || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for _, c := range []byte(label) {
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}

// below reports whether a clean name is zone, or lies below it.
func below(name, zone string) bool {
	return name == zone || strings.HasSuffix(name, "."+zone)
}

// localZones hold names that mean a host's own network, and that a proxy would
// resolve in its network instead: RFC 6761 and 6762, ICANN's .internal, RFC 8375,
// and RFC 6762's list of private zones in use (appendix G).
var localZones = []string{
	"localhost", "local", "internal", "home.arpa", "invalid", "test", "onion", "alt",
	"intranet", "private", "corp", "home", "lan", "arpa",
}

// OnlyHost reports whether only the host may resolve name: it has no dot, or lies
// in a zone of local names. Such a name is never sent to an upstream proxy.
func OnlyHost(name string) bool {
	name = Clean(name)
	if !strings.Contains(name, ".") {
		return true
	}
	for _, zone := range localZones {
		if below(name, zone) {
			return true
		}
	}
	return false
}
