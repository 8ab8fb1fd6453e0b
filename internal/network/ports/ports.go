// Package ports asks the kernel about sockets of TCP: which ports listen, whose a
// connection is, and which process has a socket (sock_diag(7), and /proc where the kernel
// has no sock_diag).
//
// It changes nothing. It sees the network namespace of the calling thread. All of it may be
// called at once from several goroutines.
package ports

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Socket is a socket of TCP.
type Socket struct {
	Addr   netip.AddrPort // its own end; unmapped, without a zone
	Remote netip.AddrPort // the other end; invalid for one that listens
	UID    uint32         // its owner
	Inode  uint32         // 0 if no process has it any more
	// V6Only says that a listener on [::] takes no connection of IPv4.
	V6Only bool
	listen bool
}

// States of sockets (linux/tcp_states.h).
const (
	stateListen = 10
	allStates   = 1<<12 - 1
)

// request is inet_diag_req_v2, message the beginning of inet_diag_msg
// (linux/inet_diag.h).
const (
	requestLen = 56
	messageLen = 72
	// attrV6Only is INET_DIAG_SKV6ONLY.
	attrV6Only = 11
)

type request struct {
	family        uint8
	states        uint32
	local, remote netip.AddrPort
}

func (r request) Len() int { return requestLen }

func (r request) Serialize() []byte {
	b := make([]byte, requestLen)
	b[0], b[1] = r.family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(b[4:], r.states)
	binary.BigEndian.PutUint16(b[8:], r.local.Port())
	binary.BigEndian.PutUint16(b[10:], r.remote.Port())
	if r.local.IsValid() {
		copy(b[12:28], r.local.Addr().AsSlice())
		copy(b[28:44], r.remote.Addr().AsSlice())
	}
	for i := 48; i < 56; i++ {
		b[i] = 0xff // INET_DIAG_NOCOOKIE
	}
	return b
}

// parse reads inet_diag_msg.
func parse(b []byte) (Socket, error) {
	if len(b) < messageLen {
		return Socket{}, fmt.Errorf("read the kernel's answer: it has %d bytes", len(b))
	}
	addr := func(at, port int) netip.AddrPort {
		a := netip.AddrFrom16([16]byte(b[at : at+16])).Unmap()
		if b[0] == unix.AF_INET {
			a = netip.AddrFrom4([4]byte(b[at : at+4]))
		}
		return netip.AddrPortFrom(a, binary.BigEndian.Uint16(b[port:]))
	}
	s := Socket{
		Addr: addr(8, 4), UID: binary.NativeEndian.Uint32(b[64:]), Inode: binary.NativeEndian.Uint32(b[68:]),
		listen: b[1] == stateListen,
	}
	if !s.listen {
		s.Remote = addr(24, 6)
	}
	for at := messageLen; at+4 <= len(b); {
		n := int(binary.NativeEndian.Uint16(b[at:]))
		if n < 4 || at+n > len(b) {
			break
		}
		if binary.NativeEndian.Uint16(b[at+2:]) == attrV6Only && n > 4 {
			s.V6Only = b[at+4] != 0
		}
		at += (n + 3) &^ 3
	}
	return s, nil
}

// families are asked in turn. A kernel without IPv6 has none of the second.
var families = []uint8{unix.AF_INET, unix.AF_INET6}

// Listening lists the sockets that listen.
func Listening() ([]Socket, error) {
	var out []Socket
	for _, family := range families {
		req := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
		req.AddData(request{family: family, states: 1 << stateListen})
		answers, err := req.Execute(unix.NETLINK_INET_DIAG, 0)
		if err != nil && !errors.Is(err, nl.ErrDumpInterrupted) { // the next look has the rest
			return listeningOfProc("/proc")
		}
		for _, b := range answers {
			s, err := parse(b)
			if err != nil {
				return nil, err
			}
			out = append(out, s)
		}
	}
	return out, nil
}

// ErrNoSocket says that this host has no process with such a socket.
var ErrNoSocket = errors.New("no process of this host has the connection")

// Peer finds the socket at the other end of a connection between two ends on this host:
// local and remote are as that other end has them. A socket that no process has any more,
// whose owner the kernel does not tell, is ErrNoSocket.
func Peer(local, remote netip.AddrPort) (Socket, error) {
	local, remote = unmap(local), unmap(remote)
	family := uint8(unix.AF_INET)
	if local.Addr().Is6() {
		family = unix.AF_INET6
	}
	req := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, 0)
	req.AddData(request{family: family, states: allStates, local: local, remote: remote})
	answers, err := req.Execute(unix.NETLINK_INET_DIAG, 0)
	var found []Socket
	switch {
	case errors.Is(err, unix.ENOENT) && len(answers) == 0:
		return Socket{}, ErrNoSocket
	case err != nil:
		if found, err = connectionsOfProc("/proc"); err != nil {
			return Socket{}, err
		}
	}
	for _, b := range answers {
		s, err := parse(b)
		if err != nil {
			return Socket{}, err
		}
		found = append(found, s)
	}
	for _, s := range found {
		// Without such a connection the kernel answers with a listener.
		if !s.listen && s.Inode != 0 && s.Addr == local && s.Remote == remote {
			return s, nil
		}
	}
	return Socket{}, ErrNoSocket
}

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// takes reports whether the listener s takes connections to a.
func (s Socket) takes(a netip.AddrPort) bool {
	if s.Addr.Port() != a.Port() {
		return false
	}
	if !s.Addr.Addr().IsUnspecified() {
		return s.Addr.Addr() == a.Addr()
	}
	return s.Addr.Addr().Is6() == a.Addr().Is6() || s.Addr.Addr().Is6() && !s.V6Only
}

// Holder is who answers at an address.
type Holder struct {
	Socket
	Process Process // zero if it is not to be seen: another user's
}

// HolderOf finds who listens at a, an exact address before all addresses.
func HolderOf(a netip.AddrPort) (Holder, bool) {
	all, err := Listening()
	if err != nil {
		return Holder{}, false
	}
	return HolderIn(all, a)
}

// HolderIn is HolderOf among sockets that Listening has listed. Of all addresses of a
// port it finds any listener.
func HolderIn(all []Socket, a netip.AddrPort) (h Holder, ok bool) {
	a = unmap(a)
	for _, s := range all {
		inWay := a.Addr().IsUnspecified() && s.Addr.Port() == a.Port()
		if (s.takes(a) || inWay) && (!ok || !s.Addr.Addr().IsUnspecified()) {
			h.Socket, ok = s, true
		}
	}
	if ok {
		h.Process = Processes([]uint32{h.Inode})[h.Inode]
	}
	return h, ok
}

// String says who it is, as "python3 (pid 12)".
func (h Holder) String() string {
	if h.Process.PID == 0 {
		return fmt.Sprintf("a process of user %d", h.UID)
	}
	return fmt.Sprintf("%q (pid %d)", h.Process.Name, h.Process.PID)
}
