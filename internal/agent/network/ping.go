package network

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	"github.com/florianl/go-nfqueue/v2"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"banger/internal/channel/netflow"
)

// pingLimit bounds the wait for an echo.
const pingLimit = 20 * time.Second

// rawSocket makes a socket that sends ICMP from any address.
func rawSocket(family, protocol int) (int, error) {
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	level, name := unix.SOL_IP, unix.IP_TRANSPARENT
	if family == unix.AF_INET6 {
		level, name = unix.SOL_IPV6, unix.IPV6_TRANSPARENT
	}
	if err := unix.SetsockoptInt(fd, level, name, 1); err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("setsockopt", err)
	}
	// It sends only: what arrives would lie in its buffer.
	return fd, os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1))
}

// ping asks the host to send an echo request, and answers it when the host's was answered.
func (n *Network) ping(q *nfqueue.Nfqueue, id uint32, p packet) {
	protocol := 1
	if p.to.Is6() {
		protocol = 58
	}
	m, err := icmp.ParseMessage(protocol, p.rest)
	echo, ok := (*icmp.Echo)(nil), false
	if err == nil {
		echo, ok = m.Body.(*icmp.Echo)
	}
	if !ok {
		q.SetVerdict(id, nfqueue.NfDrop)
		return
	}
	if p.to == gatewayAddr.Addr() || p.to == resolverAddr.Addr() || p.to == gatewayAddr6.Addr() {
		q.SetVerdict(id, nfqueue.NfAccept) // this namespace's own kernel answers
		return
	}
	select {
	case n.pings <- struct{}{}:
	default:
		q.SetVerdict(id, nfqueue.NfDrop)
		return
	}
	n.running.Go(func() { // bounded by pingLimit
		defer func() { <-n.pings }()
		ctx, cancel := context.WithTimeout(context.Background(), pingLimit)
		defer cancel()
		f, err := n.open(ctx, netflow.Request{Kind: netflow.Ping, Addr: netip.AddrPortFrom(p.to, 0), From: netip.AddrPortFrom(p.from, uint16(echo.ID))})
		if err != nil {
			q.SetVerdictWithOption(id, nfqueue.NfAccept, nfqueue.WithMark(markOf(refusal(err))))
			return
		}
		// Nothing is sent for the packet itself.
		q.SetVerdict(id, nfqueue.NfDrop)
		defer f.Close()
		defer context.AfterFunc(ctx, f.Reset)()
		if _, err := f.Write(echo.Data); err != nil {
			return
		}
		f.CloseWrite()
		data, err := io.ReadAll(io.LimitReader(f, copiedPing))
		if err != nil {
			return // nobody has answered: nor do we
		}
		if err := n.echo(p, &icmp.Echo{ID: echo.ID, Seq: echo.Seq, Data: data}); err != nil {
			n.say("network: answer a ping: %v", err)
		}
	})
}

// echo sends the answer to the ping p.
func (n *Network) echo(p packet, body *icmp.Echo) error {
	m, fd := icmp.Message{Type: ipv4.ICMPTypeEchoReply, Body: body}, n.raw4
	var to unix.Sockaddr
	if p.to.Is6() {
		m.Type, fd = ipv6.ICMPTypeEchoReply, n.raw6
		to = &unix.SockaddrInet6{Addr: p.from.As16()}
	} else {
		to = &unix.SockaddrInet4{Addr: p.from.As4()}
	}
	text, err := m.Marshal(nil) // of ICMPv6, the kernel makes the checksum
	if err != nil {
		return err
	}
	if err := unix.Sendmsg(fd, text, sourceControl(p.to), to, 0); err != nil {
		return fmt.Errorf("send to %s: %w", p.from, err)
	}
	return nil
}
