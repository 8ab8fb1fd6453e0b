package network

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"
)

// pair is the two ends of a packet of TCP or UDP.
type pair struct{ from, to netip.AddrPort }

var errPacket = errors.New("not a whole packet of IP")

// packet is what is read of one (RFC 791, RFC 8200).
type packet struct {
	from, to netip.Addr
	protocol byte
	rest     []byte // from its transport's header on
}

// parsePacket reads a packet that the kernel has found valid. Extension headers of IPv6
// are passed over.
func parsePacket(b []byte) (p packet, err error) {
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		n := int(b[0]&15) * 4
		if n < 20 || len(b) < n {
			return p, errPacket
		}
		p.from, p.to = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
		p.protocol, p.rest = b[9], b[n:]
		return p, nil
	case len(b) >= 40 && b[0]>>4 == 6:
		p.from, p.to = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
		p.protocol, p.rest = b[6], b[40:]
		for range 8 {
			switch p.protocol {
			case unix.IPPROTO_HOPOPTS, unix.IPPROTO_ROUTING, unix.IPPROTO_DSTOPTS:
			default:
				return p, nil
			}
			if len(p.rest) < 8 || len(p.rest) < (int(p.rest[1])+1)*8 {
				return p, errPacket
			}
			p.protocol, p.rest = p.rest[0], p.rest[(int(p.rest[1])+1)*8:]
		}
	}
	return p, errPacket
}

// ports reads the two ends of a packet of TCP or UDP.
func (p packet) ports() (pair, error) {
	if len(p.rest) < 4 {
		return pair{}, errPacket
	}
	return pair{
		netip.AddrPortFrom(p.from, binary.BigEndian.Uint16(p.rest)),
		netip.AddrPortFrom(p.to, binary.BigEndian.Uint16(p.rest[2:])),
	}, nil
}
