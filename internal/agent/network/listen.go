package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/channel/flow"
	"banger/internal/channel/netflow"
)

// transparent lets a socket have addresses that are others' (ip(7)).
func transparent(_, _ string, c syscall.RawConn) error {
	var err error
	cerr := c.Control(func(fd uintptr) {
		for _, o := range []struct{ level, name int }{
			{unix.SOL_SOCKET, unix.SO_REUSEADDR},
			{unix.SOL_IP, unix.IP_TRANSPARENT},
			{unix.SOL_IPV6, unix.IPV6_TRANSPARENT},
			{unix.SOL_IP, unix.IP_RECVORIGDSTADDR},
			{unix.SOL_IPV6, unix.IPV6_RECVORIGDSTADDR},
		} {
			e := unix.SetsockoptInt(int(fd), o.level, o.name, 1)
			if e != nil && !errors.Is(e, unix.ENOPROTOOPT) {
				err = errors.Join(err, os.NewSyscallError("setsockopt", e))
			}
		}
	})
	return errors.Join(cerr, err)
}

// listenTCP listens for connections that TPROXY hands over, to any address and port. It is
// itself on that port; 0 is any.
func listenTCP(port int) (*net.TCPListener, error) {
	lc := net.ListenConfig{Control: transparent}
	l, err := lc.Listen(context.Background(), "tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return nil, fmt.Errorf("listen for the guest's connections: %w", err)
	}
	return l.(*net.TCPListener), nil
}

// listenAgain is between two tries to make a socket.
const listenAgain = 100 * time.Millisecond

// again makes a socket in the inner namespace in the place of one that ended: root can
// destroy any socket of its machine (ss -K). Until it is there, the rules refuse.
func again[T any](n *Network, why error, listen func() (T, error)) T {
	n.say("network: %v: it is begun again", why)
	for {
		var s T
		err := n.inner.do(func() (err error) {
			s, err = listen()
			return err
		})
		if err == nil {
			return s
		}
		n.say("network: %v", err)
		time.Sleep(listenAgain)
	}
}

// answer has datagrams of a port answered.
func (n *Network) answer(c *net.UDPConn, family string, port int, by func(*net.UDPConn) error) {
	for {
		err := by(c)
		c.Close()
		c = again(n, err, func() (*net.UDPConn, error) { return listenUDP(family, port) })
	}
}

// accept joins the guest's connections with the host's flows.
func (n *Network) accept(l *net.TCPListener) {
	port := l.Addr().(*net.TCPAddr).Port
	for {
		c, err := l.AcceptTCP()
		switch {
		case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.ENOMEM):
			n.say("network: accept the guest's connections: %v", err)
			time.Sleep(listenAgain)
			continue
		case err != nil:
			l.Close()
			l = again(n, err, func() (*net.TCPListener, error) { return listenTCP(port) })
			continue
		}
		c.SetLinger(0) // until it is joined
		f := n.gate.take(pair{end(c.RemoteAddr()), end(c.LocalAddr())})
		if f == nil {
			c.Close()
			continue
		}
		n.running.Go(func() { // ends with either
			flow.Join(f, c)
			n.rest.Reset(restTime)
		})
	}
}

// restTime is from the last end of a connection until the memory that it took is given
// back to the guest.
const restTime = 5 * time.Second

// giveBack gives the guest what the agent's connections have left. The first collection
// only marks what lies in pools as unused.
func giveBack() {
	runtime.GC()
	debug.FreeOSMemory()
}

// end is a as the packets have it.
func end(a net.Addr) netip.AddrPort {
	e := a.(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(e.Addr().Unmap().WithZone(""), e.Port())
}

// codeOf is the code of a connection within the guest that failed.
func codeOf(err error) byte {
	if errors.Is(err, unix.ECONNREFUSED) {
		return netflow.Refused
	}
	return netflow.Unreachable
}
