package dial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"banger/internal/hint"
)

// ErrNoPing is the kind of an error that says that this host lets this user send
// no pings.
var ErrNoPing = errors.New("the kernel lets this user send no pings")

// maxPing bounds the payload of a ping, in bytes: an IPv4 packet's 65,535 without
// both headers.
const maxPing = 65507

// Reply is an answer to a ping. Its ID is the asker's: the kernel puts another on
// the wire, a number of the socket's own.
type Reply struct {
	ID, Seq uint16
	Payload []byte
	Time    time.Duration // from the request to the answer
}

// Ping sends one echo request by the host's unprivileged ICMP socket (icmp(7)),
// and waits for its answer until ctx ends, 30 seconds at most. It never makes up an
// answer. An error of the kind ErrNoPing says that the kernel refuses such sockets;
// other reasons are those of a connection.
func (d *Dialer) Ping(ctx context.Context, addr netip.Addr, id, seq uint16, payload []byte) (Reply, error) {
	ctx, cancel := d.bound(ctx)
	defer cancel()
	addr = addr.Unmap()
	if !addr.IsValid() || len(payload) > maxPing {
		return Reply{}, &Error{Other, fmt.Errorf("ping: no address, or more than %d bytes", maxPing)}
	}
	c, err := pingSocket(addr)
	if err != nil {
		return Reply{}, failure(ctx, fmt.Errorf("ping %s: %w", addr, err))
	}
	defer c.Close()
	defer interrupt(ctx, c)()
	r, err := echo(c, addr.Is4(), seq, payload)
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return Reply{}, failure(ctx, fmt.Errorf("ping %s: %w", addr, cause(err)))
	}
	r.ID = id
	return r, nil
}

// pingSocket returns an ICMP socket that is connected to addr: the kernel gives it
// the answers to its own requests, and the errors of the way there.
func pingSocket(addr netip.Addr) (net.Conn, error) {
	family, proto, to := unix.AF_INET6, unix.IPPROTO_ICMPV6, unix.Sockaddr(&unix.SockaddrInet6{Addr: addr.As16()})
	level, option := unix.IPPROTO_IPV6, unix.IPV6_RECVERR
	if addr.Is4() {
		family, proto, to = unix.AF_INET, unix.IPPROTO_ICMP, &unix.SockaddrInet4{Addr: addr.As4()}
		level, option = unix.IPPROTO_IP, unix.IP_RECVERR
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, proto)
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		return nil, &Error{Other, hint.Missing(fmt.Errorf("%w: net.ipv4.ping_group_range leaves out its groups", ErrNoPing),
			`let all users ping: sudo sysctl net.ipv4.ping_group_range="0 2147483647"`)}
	}
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), "ping")
	defer f.Close() // FileConn has a copy
	// A router's "unreachable" is told as an error then, not kept to itself.
	if err := unix.SetsockoptInt(fd, level, option, 1); err != nil {
		return nil, os.NewSyscallError("setsockopt", err)
	}
	if err := unix.Connect(fd, to); err != nil {
		return nil, os.NewSyscallError("connect", err)
	}
	return net.FileConn(f)
}

// echo sends a request and reads its answer.
func echo(c net.Conn, four bool, seq uint16, payload []byte) (Reply, error) {
	request, answer, proto := icmp.Type(ipv6.ICMPTypeEchoRequest), icmp.Type(ipv6.ICMPTypeEchoReply), unix.IPPROTO_ICMPV6
	if four {
		request, answer, proto = ipv4.ICMPTypeEcho, ipv4.ICMPTypeEchoReply, unix.IPPROTO_ICMP
	}
	msg, err := (&icmp.Message{Type: request, Body: &icmp.Echo{Seq: int(seq), Data: payload}}).Marshal(nil)
	if err != nil {
		return Reply{}, err
	}
	start := time.Now()
	if _, err := c.Write(msg); err != nil {
		return Reply{}, err
	}
	buf := make([]byte, 65536)
	for {
		n, err := c.Read(buf)
		if errors.Is(err, syscall.EMSGSIZE) {
			return Reply{}, fmt.Errorf("the packet is too large for the way: %w", err)
		}
		if err != nil {
			return Reply{}, err
		}
		got, err := icmp.ParseMessage(proto, buf[:n])
		if err != nil {
			continue
		}
		if e, ok := got.Body.(*icmp.Echo); ok && got.Type == answer && uint16(e.Seq) == seq {
			return Reply{Seq: seq, Payload: e.Data, Time: time.Since(start)}, nil
		}
	}
}
