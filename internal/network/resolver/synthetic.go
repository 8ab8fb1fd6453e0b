package resolver

import (
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"sync"
)

// SyntheticPrefix is the range of addresses that stand for a name which only an
// upstream proxy can resolve: set aside for benchmarks (RFC 2544), so nobody's
// network has it.
var SyntheticPrefix = netip.MustParsePrefix("198.18.0.0/15")

// maxSynthetic bounds the names of one VM. None is given up for another, because
// the guest may hold its address for as long as it lives.
const maxSynthetic = 4096

// Synthetic gives names addresses of SyntheticPrefix. A name keeps its address for
// as long as the value lives, and has mostly the same in the next one. Its methods
// may be called at once. The zero value is ready.
type Synthetic struct {
	mu     sync.Mutex
	byName map[string]netip.Addr
	byAddr map[netip.Addr]string
}

// Addr returns the address of name, a new one if it has none. It reports false
// if 4,096 other names have one.
func (s *Synthetic) Addr(name string) (netip.Addr, bool) {
	name = Clean(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if a, ok := s.byName[name]; ok {
		return a, true
	}
	if len(s.byName) >= maxSynthetic {
		return netip.Addr{}, false
	}
	if s.byName == nil {
		s.byName, s.byAddr = map[string]netip.Addr{}, map[netip.Addr]string{}
	}
	base := SyntheticPrefix.Addr().As4()
	first := binary.BigEndian.Uint32(base[:])
	hosts := uint32(1)<<(32-SyntheticPrefix.Bits()) - 2 // without the first and the last
	sum := sha256.Sum256([]byte(name))
	for n := binary.BigEndian.Uint32(sum[:]) % hosts; ; n = (n + 1) % hosts {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], first+1+n)
		a := netip.AddrFrom4(b)
		if _, taken := s.byAddr[a]; !taken {
			s.byName[name], s.byAddr[a] = a, name
			return a, true
		}
	}
}

// Name returns the name that has the address, if one has.
func (s *Synthetic) Name(addr netip.Addr) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name, ok := s.byAddr[addr.Unmap()]
	return name, ok
}
