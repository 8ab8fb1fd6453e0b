package network

import (
	"bytes"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// frameOf is an Ethernet frame of a type.
func frameOf(kind uint16, body []byte) []byte {
	return append(append(make([]byte, 12), byte(kind>>8), byte(kind)), body...)
}

func arp(target string) []byte {
	a := netip.MustParseAddr(target).As4()
	return frameOf(unix.ETH_P_ARP, append([]byte{0, 1, 8, 0, 6, 4, 0, 1, 23: 0}, a[:]...))
}

// icmp6 is a packet of ICMPv6 whose message is of a type and has a target.
func icmp6(kind byte, target string) []byte {
	a := netip.MustParseAddr(target).As16()
	head := [40]byte{0: 0x60, 6: unix.IPPROTO_ICMPV6}
	return frameOf(unix.ETH_P_IPV6, bytes.Join([][]byte{head[:], {kind, 7: 0}, a[:]}, nil))
}

// The guest's question for a neighbour wakes the network; what its kernel sends by itself
// when eth0 comes does not.
func TestAsks(t *testing.T) {
	for name, c := range map[string]struct {
		frame []byte
		want  bool
	}{
		"gateway":             {arp("10.0.2.2"), true},
		"resolver":            {arp("10.0.2.3"), true},
		"nobody":              {arp("10.0.2.77"), true},
		"itself":              {arp("10.0.2.15"), false},
		"another network":     {arp("10.0.3.2"), false},
		"cut":                 {arp("10.0.2.2")[:41], false},
		"IPv4":                {frameOf(unix.ETH_P_IP, arp("10.0.2.2")[14:]), false},
		"gateway by IPv6":     {icmp6(135, "fd00:2::2"), true},
		"itself by IPv6":      {icmp6(135, "fd00:2::15"), false},
		"link-local":          {icmp6(135, "fe80::1"), false},
		"router solicitation": {icmp6(133, "fd00:2::2"), false},
		"cut by IPv6":         {icmp6(135, "fd00:2::2")[:77], false},
		"nothing":             {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := asks(c.frame); got != c.want {
				t.Errorf("asks(%x) = %v, want %v", c.frame, got, c.want)
			}
		})
	}
}

// A frame of any bytes is read without harm.
func FuzzAsks(f *testing.F) {
	f.Add(arp("10.0.2.2"))
	f.Add(icmp6(135, "fd00:2::2"))
	f.Fuzz(func(t *testing.T, frame []byte) {
		if asks(frame) && len(frame) < etherHeader+28 {
			t.Errorf("asks(%x) of %d bytes", frame, len(frame))
		}
	})
}
