package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"

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

// findNamespace returns the inner namespace that is there, and whether the guest's
// network has IPv6; nil if there is none.
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
		ipv6, err = hasAddress(l, gatewayAddr6)
		return err
	})
	if errors.As(err, &netlink.LinkNotFoundError{}) { // somebody took it away
		h.Close()
		return nil, false, nil
	}
	if err != nil || ipv6 {
		return n, ipv6, err
	}
	if l, err := netlink.LinkByName(outer); err == nil { // the inner end has none while it sleeps
		ipv6, _ = hasAddress(l, guestAddr6)
	}
	return n, ipv6, nil
}

func hasAddress(l netlink.Link, p netip.Prefix) (bool, error) {
	addrs, err := netlink.AddrList(l, netlink.FAMILY_V6)
	return slices.ContainsFunc(addrs, func(a netlink.Addr) bool { return a.IP.Equal(p.Addr().AsSlice()) }), err
}

// makeNamespace makes the inner namespace, pins it, and makes the veth pair. frames is a
// socket that sees all that comes from the guest.
func makeNamespace(ipv6 bool) (n *namespace, frames *os.File, err error) {
	if err := os.MkdirAll(filepath.Dir(pinned), 0o755); err != nil {
		return nil, nil, err
	}
	f, err := os.OpenFile(pinned, os.O_CREATE|os.O_RDONLY, 0o600)
	if err != nil {
		return nil, nil, err
	}
	f.Close()
	guest, err := netns.Get()
	if err != nil {
		return nil, nil, err
	}
	defer guest.Close()
	n = &namespace{}
	made := make(chan error)
	go func() { // ends soon; its thread, which is in the new namespace, ends with it
		runtime.LockOSThread()
		var err error
		if frames, err = n.make(guest); err != nil {
			err = fmt.Errorf("make the network's namespace: %w", err)
		}
		made <- err
	}()
	if err := <-made; err != nil {
		return nil, nil, err
	}
	return n, frames, setOuter(ipv6)
}

// make makes the calling thread's namespace a new one, and the pair whose other end is in
// the namespace guest.
func (n *namespace) make(guest netns.NsHandle) (frames *os.File, err error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return nil, err
	}
	if err := unix.Mount(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), pinned, "", unix.MS_BIND, ""); err != nil {
		return nil, err
	}
	if n.handle, err = netns.GetFromPath(pinned); err != nil {
		return nil, err
	}
	if frames, err = listenFrames(); err != nil {
		return nil, err
	}
	pair := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: outer, PeerNamespace: netlink.NsFd(guest)}
	pair.Name = inner
	if err := netlink.LinkAdd(pair); err != nil {
		return nil, fmt.Errorf("make %s: %w", outer, err)
	}
	l, err := link(inner)
	if err != nil {
		return nil, err
	}
	return frames, netlink.LinkSetUp(l)
}

// link is a link by its name, with its number and nothing else: a fourth of the time that
// all of it takes.
func link(name string) (netlink.Link, error) {
	i, err := index(name)
	if err != nil {
		return nil, fmt.Errorf("find the link %s: %w", name, err)
	}
	return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: name, Index: i}}, nil
}

func index(name string) (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifr)
	return int(ifr.Uint32()), err
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

// setWays gives what is marked its way to a listener, in the inner namespace.
func setWays(ipv6 bool) error {
	lo, err := link("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	families := []int{unix.AF_INET}
	if ipv6 {
		families = append(families, unix.AF_INET6)
	}
	for _, family := range families {
		rule := netlink.NewRule()
		rule.Family, rule.Mark, rule.Table = family, mark, table
		if err := netlink.RuleAdd(rule); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("add a rule for marked packets: %w", err)
		}
		bits := 32
		if family == unix.AF_INET6 {
			bits = 128
		}
		all := &net.IPNet{IP: make(net.IP, bits/8), Mask: net.CIDRMask(0, bits)}
		route := &netlink.Route{LinkIndex: lo.Attrs().Index, Dst: all, Table: table, Type: unix.RTN_LOCAL, Scope: unix.RT_SCOPE_HOST}
		if err := netlink.RouteAdd(route); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("add a route for marked packets: %w", err)
		}
	}
	return nil
}

// setInner gives the inner end its addresses: from then on it answers the guest.
func setInner(ipv6 bool) error {
	l, err := link(inner)
	if err != nil {
		return err
	}
	addrs := []netip.Prefix{gatewayAddr, resolverAddr}
	if ipv6 {
		addrs = append(addrs, gatewayAddr6)
	}
	for _, a := range addrs {
		if err := addAddress(l, a); err != nil {
			return err
		}
	}
	return nil
}

// setOuter gives eth0 its addresses and the guest its routes.
func setOuter(ipv6 bool) error {
	l, err := link(outer)
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
