package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const (
	// pinned keeps the inner namespace while no agent lives: what a dying one's
	// connections send, resets, gets through, and the next one takes it over.
	pinned = "/run/banger/network"
	outer  = "eth0"
	inner  = "guest"
	// mark is of packets that are for a listener of the agent's, and table has their
	// route.
	mark  = 1
	table = 100
)

// namespace is the inner one.
type namespace struct {
	handle netns.NsHandle
}

// findNamespace returns the inner namespace that is there, and whether it has IPv6; nil
// if there is none.
func findNamespace() (n *namespace, ipv6 bool, err error) {
	h, err := netns.GetFromPath(pinned)
	if err != nil {
		return nil, false, nil
	}
	n = &namespace{h}
	err = n.do(func() error {
		l, err := netlink.LinkByName(inner)
		if err != nil {
			return err
		}
		addrs, err := netlink.AddrList(l, netlink.FAMILY_V6)
		for _, a := range addrs {
			ipv6 = ipv6 || a.IP.Equal(gatewayAddr6.Addr().AsSlice())
		}
		return err
	})
	if errors.As(err, &netlink.LinkNotFoundError{}) { // somebody took it away
		h.Close()
		return nil, false, nil
	}
	return n, ipv6, err
}

// makeNamespace makes the inner namespace and the veth pair.
func makeNamespace(ipv6 bool) (*namespace, error) {
	n, err := newNamespace()
	if err != nil {
		return nil, fmt.Errorf("make the network's namespace: %w", err)
	}
	pair := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: inner, PeerNamespace: netlink.NsFd(n.handle)}
	pair.Name = outer
	if err := netlink.LinkAdd(pair); err != nil {
		return nil, fmt.Errorf("make %s: %w", outer, err)
	}
	if err := n.do(func() error { return setInner(ipv6) }); err != nil {
		return nil, fmt.Errorf("set the inner network: %w", err)
	}
	return n, setOuter(ipv6)
}

// newNamespace makes a namespace and pins it.
func newNamespace() (*namespace, error) {
	if err := os.MkdirAll(filepath.Dir(pinned), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(pinned, os.O_CREATE|os.O_RDONLY, 0o600)
	if err != nil {
		return nil, err
	}
	f.Close()
	made := make(chan error)
	n := &namespace{}
	go func() { // ends soon; its thread, which is in the new namespace, ends with it
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = unix.Mount(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), pinned, "", unix.MS_BIND, "")
		}
		if err == nil {
			n.handle, err = netns.GetFromPath(pinned)
		}
		made <- err
	}()
	return n, <-made
}

// do calls f in the namespace, in a thread that ends with it.
func (n *namespace) do(f func() error) error {
	done := make(chan error)
	go func() { // ends with f
		runtime.LockOSThread()
		if err := netns.Set(n.handle); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

func addAddress(l netlink.Link, p netip.Prefix) error {
	a := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD // nobody else can be there
	}
	if err := netlink.AddrAdd(l, a); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add the address %s: %w", p, err)
	}
	return nil
}

// setInner gives the inner end its addresses, and what is marked its way to a listener.
func setInner(ipv6 bool) error {
	l, err := netlink.LinkByName(inner)
	if err != nil {
		return err
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	for _, l := range []netlink.Link{lo, l} {
		if err := netlink.LinkSetUp(l); err != nil {
			return err
		}
	}
	addrs, families := []netip.Prefix{gatewayAddr, resolverAddr}, []int{unix.AF_INET}
	if ipv6 {
		addrs, families = append(addrs, gatewayAddr6), append(families, unix.AF_INET6)
	}
	for _, a := range addrs {
		if err := addAddress(l, a); err != nil {
			return err
		}
	}
	for _, family := range families {
		rule := netlink.NewRule()
		rule.Family, rule.Mark, rule.Table = family, mark, table
		if err := netlink.RuleAdd(rule); err != nil {
			return fmt.Errorf("add a rule for marked packets: %w", err)
		}
		bits := 32
		if family == unix.AF_INET6 {
			bits = 128
		}
		all := &net.IPNet{IP: make(net.IP, bits/8), Mask: net.CIDRMask(0, bits)}
		route := &netlink.Route{LinkIndex: lo.Attrs().Index, Dst: all, Table: table, Type: unix.RTN_LOCAL, Scope: unix.RT_SCOPE_HOST}
		if err := netlink.RouteAdd(route); err != nil {
			return fmt.Errorf("add a route for marked packets: %w", err)
		}
	}
	return nil
}

// setOuter gives eth0 its addresses and the guest its routes.
func setOuter(ipv6 bool) error {
	l, err := netlink.LinkByName(outer)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(l); err != nil {
		return err
	}
	ways := []struct{ addr, gateway netip.Prefix }{{guestAddr, gatewayAddr}}
	if ipv6 {
		ways = append(ways, struct{ addr, gateway netip.Prefix }{guestAddr6, gatewayAddr6})
	}
	for _, w := range ways {
		if err := addAddress(l, w.addr); err != nil {
			return err
		}
		if err := netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: w.gateway.Addr().AsSlice()}); err != nil {
			return fmt.Errorf("add the route by %s: %w", w.gateway.Addr(), err)
		}
	}
	return nil
}
