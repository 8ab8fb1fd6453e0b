package supervisor

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"banger/internal/hint"
	"banger/internal/network/ports"
	"banger/internal/vm"
)

func listenFor(p vm.Forward) (net.Listener, error) {
	network := "tcp4" // else 0.0.0.0 is all addresses of IPv6 too
	if p.Host.Addr().Is6() {
		network = "tcp6"
	}
	l, err := net.Listen(network, p.Host.String())
	if err != nil {
		return nil, listenError(p, err)
	}
	return l, nil
}

// CheckForward returns an error if p's port of the host can't be had now. The hint says
// what to type.
func CheckForward(p vm.Forward) error {
	l, err := listenFor(p)
	if err != nil {
		return err
	}
	return l.Close()
}

// listenError says why p's port can't be had.
func listenError(p vm.Forward, err error) error {
	other := p
	other.Host = netip.AddrPortFrom(p.Host.Addr(), p.Host.Port()+1)
	if p.Host.Port() == 65535 {
		other.Host = netip.AddrPortFrom(p.Host.Addr(), 8080)
	}
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		who := ""
		if h, ok := ports.HolderOf(p.Host); ok {
			who = " by " + h.String()
		}
		return hint.Add(fmt.Errorf("%s of this host is in use%s", p.Host, who), fmt.Sprintf("choose another port, as %s", other))
	case errors.Is(err, unix.EACCES):
		first := strings.TrimSpace(readText("/proc/sys/net/ipv4/ip_unprivileged_port_start"))
		other.Host = netip.AddrPortFrom(p.Host.Addr(), p.Host.Port()%1000+8000)
		return hint.Add(fmt.Errorf("%s of this host is only for root: a user's ports begin at %s", p.Host, first),
			fmt.Sprintf("choose another port, as %s; or let users have it: sudo sysctl net.ipv4.ip_unprivileged_port_start=%d", other, p.Host.Port()))
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return hint.Add(fmt.Errorf("this host has no address %s", p.Host.Addr()), "ip addr lists those that it has")
	}
	return err
}

func readText(path string) string {
	text, _ := os.ReadFile(path)
	return string(text)
}

// mayConnect returns an error if c is a connection of another user of this host's. One
// that comes from another host may connect: it reached a listener that the user has put there.
func mayConnect(c *net.TCPConn, uid int) error {
	remote, local := c.RemoteAddr().(*net.TCPAddr).AddrPort(), c.LocalAddr().(*net.TCPAddr).AddrPort()
	peer, err := ports.Peer(remote, local)
	switch {
	case errors.Is(err, ports.ErrNoSocket) && !remote.Addr().Unmap().IsLoopback() && !isOwn(remote.Addr()):
		return nil
	case err != nil:
		return err
	case int(peer.UID) != uid:
		return fmt.Errorf("it is of user %d", peer.UID)
	}
	return nil
}

// isOwn reports whether a is an address of this host.
func isOwn(a netip.Addr) bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return true
	}
	return slices.ContainsFunc(addrs, func(n net.Addr) bool {
		p, err := netip.ParsePrefix(n.String())
		return err == nil && p.Addr().Unmap() == a.Unmap().WithZone("")
	})
}
