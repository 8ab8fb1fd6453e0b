package network

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// At boot there is eth0 with its addresses and routes, and an inner end that has none:
// what answers behind it takes most of the time, and the first command may not need it. The guest's first
// packet waits in the guest's kernel, which asks for the gateway's hardware address (RFC
// 826, RFC 4861). That question wakes the network, and the packet goes on when it
// is answered.

const (
	// patience is how often the guest's kernel asks, once a second, before it gives the
	// packet up (arp(7), mcast_solicit): waking takes a fifth of a second in an emulated
	// guest, and longer in one that waits for a processor.
	patience = 60
	// patienceBefore is the kernel's own.
	patienceBefore = 3
)

// maxFrame bounds what is read of a frame, in bytes: a question for an address is shorter.
const maxFrame = 128

// etherHeader is a frame's, in bytes; its type is at the end.
const etherHeader = 14

// listenFrames opens a socket that sees all frames of the calling thread's namespace.
func listenFrames() (*os.File, error) {
	protocol := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(protocol))
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	return os.NewFile(uintptr(fd), "frames"), nil
}

// sleep wakes the network when the guest first asks for it. It owns frames.
func (n *Network) sleep(frames *os.File) {
	if err := n.setPatience(patience); err != nil {
		n.say("network: %v", err)
	}
	n.running.Go(func() { // ends with the guest, or the network's first use
		defer frames.Close()
		buf := make([]byte, maxFrame)
		for {
			size, err := frames.Read(buf)
			if err != nil {
				n.say("network: wait for its first use: %v", err)
			}
			if err != nil || asks(buf[:size]) {
				break
			}
		}
		if err := n.wake(); err != nil {
			n.say("there is no network: %v", err)
			if l, err := link(outer); err == nil {
				netlink.LinkDel(l) // nobody waits for an answer
			}
		}
	})
}

// wake makes all that answers behind eth0.
func (n *Network) wake() error {
	m, err := openModules(n.options.Modules)
	if err != nil {
		return err
	}
	if err := m.load(answerModules...); err != nil {
		return err
	}
	m.load(diagModule)
	err = n.inner.do(func() error {
		if err := setWays(n.options.IPv6); err != nil {
			return err
		}
		if err := n.listen(n.options.IPv6); err != nil {
			return err
		}
		return setInner(n.options.IPv6)
	})
	if err != nil {
		return err
	}
	if err := n.answerFirst(); err != nil {
		n.say("network: %v", err) // the guest's kernel asks again
	}
	return nil
}

// answerFirst answers the guest's kernel, which asks only once a second, where the
// inner end is.
func (n *Network) answerFirst() error {
	var end netlink.Link
	err := n.inner.do(func() (err error) {
		end, err = netlink.LinkByName(inner)
		return err
	})
	if err != nil {
		return err
	}
	l, err := link(outer)
	if err != nil {
		return nil // the guest has no eth0 any more
	}
	neighbours, err := netlink.NeighList(l.Attrs().Index, unix.AF_UNSPEC)
	if err != nil {
		return fmt.Errorf("list the guest's neighbours: %w", err)
	}
	for _, a := range neighbours {
		if a.State != netlink.NUD_INCOMPLETE || !ours(a.IP) {
			continue
		}
		a.State, a.HardwareAddr = netlink.NUD_REACHABLE, end.Attrs().HardwareAddr
		if err := netlink.NeighSet(&a); err != nil {
			return fmt.Errorf("tell the guest of %s: %w", a.IP, err)
		}
	}
	return n.setPatience(patienceBefore)
}

// ours reports whether the inner end has an address.
func ours(ip []byte) bool {
	a, _ := netip.AddrFromSlice(ip)
	a = a.Unmap()
	return a == gatewayAddr.Addr() || a == resolverAddr.Addr() || a == gatewayAddr6.Addr()
}

// beyond reports whether an address is in the network, and not the guest's.
func beyond(ip []byte) bool {
	a, _ := netip.AddrFromSlice(ip)
	return a != guestAddr.Addr() && a != guestAddr6.Addr() && (guestAddr.Contains(a) || guestAddr6.Contains(a))
}

// setPatience says how often the guest's kernel asks for a hardware address by eth0.
func (n *Network) setPatience(times int) error {
	families := []string{"ipv4"}
	if n.options.IPv6 {
		families = append(families, "ipv6")
	}
	for _, family := range families {
		name := filepath.Join("/proc/sys/net", family, "neigh", outer, "mcast_solicit")
		if err := os.WriteFile(name, []byte(strconv.Itoa(times)), 0); err != nil {
			return err
		}
	}
	return nil
}

// asks reports whether a frame is the guest's question for the hardware address of
// another than itself.
func asks(frame []byte) bool {
	if len(frame) < etherHeader {
		return false
	}
	body := frame[etherHeader:]
	switch binary.BigEndian.Uint16(frame[etherHeader-2:]) {
	case unix.ETH_P_ARP: // a request's last field is the address that it asks for (RFC 826)
		return len(body) >= 28 && beyond(body[24:28])
	case unix.ETH_P_IPV6:
		const solicitation, target = 135, 8 // RFC 4861, 4.3
		p, err := parsePacket(body)
		return err == nil && p.protocol == unix.IPPROTO_ICMPV6 && len(p.rest) >= target+16 &&
			p.rest[0] == solicitation && beyond(p.rest[target:target+16])
	}
	return false
}
