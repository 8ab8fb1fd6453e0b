package network

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"banger/internal/channel/netflow"
)

// questionLimit bounds a question's answer. The guest's resolver asks again after 5 s
// (resolv.conf(5)); the host gives up after 10 s.
const questionLimit = 15 * time.Second

// maxQuestion bounds a datagram of DNS, in bytes: what EDNS allows is more than any has.
const maxQuestion = 4 << 10

// listenUDP listens for datagrams that TPROXY hands over, to any address and that port.
func listenUDP(family string, port int) (*net.UDPConn, error) {
	lc := net.ListenConfig{Control: transparent}
	c, err := lc.ListenPacket(context.Background(), family, fmt.Sprintf(":%d", port))
	if err != nil {
		return nil, fmt.Errorf("listen for the guest's datagrams: %w", err)
	}
	return c.(*net.UDPConn), nil
}

// datagrams hands what comes to c to answer, with the address that it was for, until c
// has an error. text is valid until answer returns.
func datagrams(c *net.UDPConn, answer func(text []byte, to netip.Addr, from netip.AddrPort)) error {
	buf, control := make([]byte, maxQuestion), make([]byte, 256)
	for {
		size, csize, _, from, err := c.ReadMsgUDPAddrPort(buf, control)
		if err != nil {
			return err
		}
		if to, ok := originalDestination(control[:csize]); ok {
			answer(buf[:size], to, from)
		}
	}
}

// answerQuestions passes the guest's DNS by UDP on to the host, whatever nameserver it
// was for.
func (n *Network) answerQuestions(c *net.UDPConn) error {
	return datagrams(c, func(text []byte, to netip.Addr, from netip.AddrPort) {
		select {
		case n.questions <- struct{}{}:
		default:
			return // it is asked again
		}
		question := append([]byte(nil), text...)
		request := netflow.Request{Kind: netflow.DNS, From: netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), Addr: netip.AddrPortFrom(to, portDNS)}
		n.running.Go(func() { // bounded by questionLimit
			defer func() { <-n.questions }()
			if answer, err := n.ask(request, question); err == nil {
				c.WriteMsgUDPAddrPort(answer, sourceControl(to), from)
			}
		})
	})
}

// ask asks the host a question of DNS.
func (n *Network) ask(r netflow.Request, question []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), questionLimit)
	defer cancel()
	f, err := n.open(ctx, r)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	defer context.AfterFunc(ctx, f.Reset)()
	if _, err := f.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(question))), question...)); err != nil {
		return nil, err
	}
	f.CloseWrite()
	var size [2]byte
	if _, err := io.ReadFull(f, size[:]); err != nil {
		return nil, err
	}
	answer := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err = io.ReadFull(f, answer)
	return answer, err
}

// originalDestination is the address that a datagram was for (IP_RECVORIGDSTADDR, ip(7)).
func originalDestination(control []byte) (netip.Addr, bool) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return netip.Addr{}, false
	}
	for _, m := range messages {
		if sa, err := unix.ParseOrigDstAddr(&m); err == nil {
			switch sa := sa.(type) {
			case *unix.SockaddrInet4:
				return netip.AddrFrom4(sa.Addr), true
			case *unix.SockaddrInet6:
				return netip.AddrFrom16(sa.Addr).Unmap(), true
			}
		}
	}
	return netip.Addr{}, false
}

// sourceControl lets a datagram come from src, which is not an address of this machine (IP_PKTINFO, ip(7),
// ipv6(7)).
func sourceControl(src netip.Addr) []byte {
	if src.Is4() {
		info := unix.Inet4Pktinfo{Spec_dst: src.As4()}
		return controlMessage(unix.SOL_IP, unix.IP_PKTINFO, unsafe.Slice((*byte)(unsafe.Pointer(&info)), unix.SizeofInet4Pktinfo))
	}
	info := unix.Inet6Pktinfo{Addr: src.As16()}
	return controlMessage(unix.SOL_IPV6, unix.IPV6_PKTINFO, unsafe.Slice((*byte)(unsafe.Pointer(&info)), unix.SizeofInet6Pktinfo))
}

func controlMessage(level, kind int32, data []byte) []byte {
	b := make([]byte, unix.CmsgSpace(len(data)))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(len(data)))
	copy(b[unix.CmsgLen(0):], data)
	return b
}
