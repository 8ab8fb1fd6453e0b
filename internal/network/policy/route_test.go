package policy

import (
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// inNetwork gives the test a network namespace of its own, in which it may do everything.
// Its thread is not used again, and the namespace ends with it.
func inNetwork(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: routes in a network namespace")
	}
	runtime.LockOSThread()
	ns, err := netns.New()
	if err != nil {
		t.Skipf("needs a network namespace: %v", err)
	}
	t.Cleanup(func() { ns.Close() })
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// device makes a device that is up, with addresses.
func device(t *testing.T, name string, addrs ...string) netlink.Link {
	t.Helper()
	// A device of TUN has a carrier while its file is open.
	link := &netlink.Tuntap{
		LinkAttrs: netlink.LinkAttrs{Name: name}, Mode: netlink.TUNTAP_MODE_TUN,
		Flags: netlink.TUNTAP_NO_PI, Queues: 1, NonPersist: true,
	}
	if err := netlink.LinkAdd(link); err != nil {
		t.Skipf("needs a device in a network namespace: %v", err)
	}
	t.Cleanup(func() {
		for _, f := range link.Fds {
			f.Close()
		}
	})
	for _, a := range addrs {
		addr, err := netlink.ParseAddr(a)
		if err != nil {
			t.Fatal(err)
		}
		addr.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrAdd(link, addr); err != nil {
			t.Fatalf("add %s: %v", a, err)
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		t.Fatal(err)
	}
	return link
}

// route adds one: "PREFIX [via GATEWAY]", in a table, or the main one (0).
func route(t *testing.T, link netlink.Link, table int, spec string) {
	t.Helper()
	to, via, _ := strings.Cut(spec, " via ")
	_, dst, err := net.ParseCIDR(to)
	if err != nil {
		t.Fatal(err)
	}
	r := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: dst, Table: table}
	if via != "" {
		r.Gw = net.ParseIP(via)
	}
	if err := netlink.RouteAdd(r); err != nil {
		t.Fatalf("add the route %s: %v", spec, err)
	}
}

// reaches holds the kernel's answers to "ADDRESS default|own|none|PREFIX".
func reaches(t *testing.T, rows ...string) {
	t.Helper()
	for _, row := range rows {
		addr, want, _ := strings.Cut(row, " ")
		r, err := Kernel{}.Route(netip.MustParseAddr(addr))
		got := map[Reach]string{NoRoute: "none", ByDefault: "default", Own: "own", BySpecific: r.Prefix.String()}[r.Reach]
		if err != nil || got != want {
			t.Errorf("Route(%s) = %s (%s), %v; want %s", addr, got, r.Prefix, err, want)
		}
	}
}

func TestRouteWithoutDefault(t *testing.T) {
	inNetwork(t)
	reaches(t, "93.184.216.34 none", "2606:4700:4700::1111 none", "127.0.0.1 own")
	device(t, "eth0", "5.9.10.2/29")
	reaches(t, "93.184.216.34 none", "5.9.10.2 own", "5.9.10.3 5.9.10.0/29")
}

// A LAN has public addresses, of both families.
func TestRouteLAN(t *testing.T) {
	inNetwork(t)
	eth := device(t, "eth0", "5.9.10.2/29", "2a01:4f8:1:2::2/64")
	route(t, eth, 0, "0.0.0.0/0 via 5.9.10.1")
	route(t, eth, 0, "::/0 via 2a01:4f8:1:2::1")
	route(t, eth, 0, "45.33.32.156/32")
	other := device(t, "eth1", "20.1.1.1/24")
	if err := netlink.LinkSetDown(other); err != nil {
		t.Fatal(err)
	}
	reaches(t,
		"93.184.216.34 default", "2606:4700:4700::1111 default",
		"5.9.10.2 own", "2a01:4f8:1:2::2 own", "20.1.1.1 own",
		"5.9.10.1 5.9.10.0/29", "5.9.10.6 5.9.10.0/29", "5.9.10.7 5.9.10.7/32", "5.9.10.8 default",
		"2a01:4f8:1:2::77 2a01:4f8:1:2::/64", "2a01:4f8:1:3::77 default",
		"45.33.32.156 45.33.32.156/32",
	)
	j := New(Policy{Profile: Public}, Kernel{})
	for addr, allow := range map[string]bool{"93.184.216.34": true, "2a01:4f8:1:2::77": false, "5.9.10.2": false} {
		q := Question{Addr: netip.MustParseAddr(addr), Port: 443, Proto: TCP}
		if v := j.Judge(q); v.Allow != allow {
			t.Errorf("Judge(%s) = %+v, want allow %v", addr, v, allow)
		}
	}
}

// OpenVPN's redirect-gateway def1, with a network of the company's, which is its server's
// word, and the server beside it.
func TestRouteOpenVPN(t *testing.T) {
	inNetwork(t)
	eth := device(t, "eth0", "5.9.10.2/29")
	route(t, eth, 0, "0.0.0.0/0 via 5.9.10.1")
	route(t, eth, 0, "20.20.20.20/32 via 5.9.10.1")
	tun := device(t, "tun0", "10.8.0.6/24")
	route(t, tun, 0, "0.0.0.0/1 via 10.8.0.1")
	reaches(t, "93.184.216.34 0.0.0.0/1", "193.0.0.1 default")
	route(t, tun, 0, "128.0.0.0/1 via 10.8.0.1")
	route(t, tun, 0, "20.30.0.0/16 via 10.8.0.1")
	reaches(t,
		"93.184.216.34 default", "193.0.0.1 default",
		"20.20.20.20 20.20.20.20/32", "20.30.1.1 20.30.0.0/16", "5.9.10.3 5.9.10.0/29",
		"10.8.0.1 10.8.0.0/24",
	)
}

// Halves by two next hops are two networks.
func TestRouteTwoDevices(t *testing.T) {
	inNetwork(t)
	route(t, device(t, "tun0", "10.8.0.6/24"), 0, "0.0.0.0/1")
	route(t, device(t, "tun1", "10.9.0.6/24"), 0, "128.0.0.0/1")
	reaches(t, "93.184.216.34 0.0.0.0/1", "193.0.0.1 128.0.0.0/1")
}

// Halves of IPv6, and the part of it that is given out.
func TestRouteIPv6Halves(t *testing.T) {
	for _, halves := range [][]string{{"::/1", "8000::/1"}, {"2000::/3"}, {"2000::/4", "3000::/4"}} {
		t.Run(halves[0], func(t *testing.T) {
			inNetwork(t)
			tun := device(t, "tun0", "fd00:8::6/64")
			for _, half := range halves {
				route(t, tun, 0, half)
			}
			route(t, tun, 0, "2a01:4f8:9::/48")
			reaches(t, "2606:4700:4700::1111 default", "3000::1 default", "2a01:4f8:9::1 2a01:4f8:9::/48")
		})
	}
}

// WireGuard as wg-quick sets it up: a table of its own, which a rule asks for what the main
// table has no specific route for.
func TestRouteWireGuard(t *testing.T) {
	inNetwork(t)
	eth := device(t, "eth0", "5.9.10.2/29", "2a01:4f8:1:2::2/64")
	route(t, eth, 0, "0.0.0.0/0 via 5.9.10.1")
	route(t, eth, 0, "45.33.32.156/32")
	wg := device(t, "wg0", "10.9.0.2/32")
	const table = 51820
	route(t, wg, table, "0.0.0.0/0")
	route(t, wg, table, "::/0")
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		for _, main := range []bool{false, true} {
			r := netlink.NewRule()
			r.Family = family
			if main {
				r.Table, r.SuppressPrefixlen, r.Priority = unix.RT_TABLE_MAIN, 0, 100
			} else {
				r.Table, r.Mark, r.Invert, r.Priority = table, table, true, 200
			}
			if err := netlink.RuleAdd(r); err != nil {
				t.Skipf("needs rules of routing: %v", err)
			}
		}
	}
	reaches(t,
		"93.184.216.34 default", "2606:4700:4700::1111 default",
		"45.33.32.156 45.33.32.156/32", "5.9.10.3 5.9.10.0/29", "2a01:4f8:1:2::3 2a01:4f8:1:2::/64", "10.9.0.2 own",
	)
	// A table of halves counts alike, and the company's network in it doesn't.
	if err := netlink.RouteDel(&netlink.Route{LinkIndex: wg.Attrs().Index, Table: table, Dst: &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}}); err != nil {
		t.Fatal(err)
	}
	route(t, wg, table, "0.0.0.0/1")
	route(t, wg, table, "128.0.0.0/1")
	route(t, wg, table, "20.30.0.0/16")
	reaches(t, "93.184.216.34 default", "193.0.0.1 default", "20.30.1.1 20.30.0.0/16")
}

// A split tunnel: the company's networks through the VPN, the rest beside it.
func TestRouteSplitTunnel(t *testing.T) {
	inNetwork(t)
	eth := device(t, "eth0", "5.9.10.2/29")
	route(t, eth, 0, "0.0.0.0/0 via 5.9.10.1")
	tun := device(t, "tun0", "10.8.0.6/24")
	for _, net := range []string{"20.30.0.0/16", "64.0.0.0/2", "193.0.0.0/8"} {
		route(t, tun, 0, net)
	}
	reaches(t, "93.184.216.34 64.0.0.0/2", "20.30.1.1 20.30.0.0/16", "193.1.1.1 193.0.0.0/8", "8.8.8.8 default")
}

// A split tunnel whose networks are those of rules, each with a default route in a table of its own. A
// rule that comes after one for all addresses means nothing.
func TestRouteSplitTunnelByRule(t *testing.T) {
	inNetwork(t)
	eth := device(t, "eth0", "5.9.10.2/29", "2a01:4f8:1:2::2/64")
	route(t, eth, 0, "0.0.0.0/0 via 5.9.10.1")
	route(t, eth, 0, "::/0 via 2a01:4f8:1:2::1")
	tun := device(t, "tun0", "10.8.0.6/24", "fd00:8::6/64")
	const table = 100
	route(t, tun, table, "0.0.0.0/1")
	route(t, tun, table, "128.0.0.0/1")
	route(t, tun, table, "::/0")
	rule := func(priority, table int, to string) {
		t.Helper()
		r := netlink.NewRule()
		_, r.Dst, _ = net.ParseCIDR(to)
		if r.Family = netlink.FAMILY_V4; r.Dst.IP.To4() == nil {
			r.Family = netlink.FAMILY_V6
		}
		r.Table, r.Priority = table, priority
		if err := netlink.RuleAdd(r); err != nil {
			t.Skipf("needs rules of routing: %v", err)
		}
	}
	rule(200, table, "20.30.0.0/16")
	rule(201, table, "2a01:4f8:9::/48")
	rule(202, unix.RT_TABLE_MAIN, "20.31.0.0/16")
	rule(40000, unix.RT_TABLE_MAIN, "8.8.0.0/16")
	reaches(t,
		"20.30.1.1 20.30.0.0/16", "2a01:4f8:9::1 2a01:4f8:9::/48", "20.31.1.1 20.31.0.0/16",
		"8.8.8.8 default", "93.184.216.34 default", "2606:4700:4700::1111 default",
	)
}

// Everything but private networks, as WireGuard's AllowedIPs have it.
func TestRouteAllButPrivate(t *testing.T) {
	inNetwork(t)
	wg := device(t, "wg0", "10.9.0.2/32")
	for _, p := range allButPrivate {
		route(t, wg, 0, p)
	}
	eth := device(t, "eth0", "5.9.10.2/29")
	route(t, eth, 0, "20.20.20.0/24 via 5.9.10.1")
	reaches(t, "93.184.216.34 default", "1.1.1.1 default", "172.32.0.1 default", "20.20.20.1 20.20.20.0/24", "5.9.10.3 5.9.10.0/29")
}

func TestRouteDenied(t *testing.T) {
	inNetwork(t)
	for _, kind := range []int{unix.RTN_UNREACHABLE, unix.RTN_PROHIBIT} {
		_, dst, _ := net.ParseCIDR(map[int]string{unix.RTN_UNREACHABLE: "20.1.0.0/16", unix.RTN_PROHIBIT: "20.2.0.0/16"}[kind])
		if err := netlink.RouteAdd(&netlink.Route{Dst: dst, Type: kind}); err != nil {
			t.Fatal(err)
		}
	}
	reaches(t, "20.1.0.1 none", "20.2.0.1 none")
}

// The kernel of the machine that the test runs on answers too.
func TestRouteHere(t *testing.T) {
	r, err := Kernel{}.Route(netip.MustParseAddr("127.0.0.1"))
	if err != nil || r.Reach != Own {
		t.Errorf("Route(127.0.0.1) = %+v, %v; want own", r, err)
	}
	r, err = Kernel{}.Route(netip.MustParseAddr("93.184.216.34"))
	if err != nil || r.Reach == Own {
		t.Errorf("Route(93.184.216.34) = %+v, %v", r, err)
	}
}

func BenchmarkRoute(b *testing.B) {
	a := netip.MustParseAddr("93.184.216.34")
	for b.Loop() {
		if _, err := (Kernel{}).Route(a); err != nil {
			b.Fatal(err)
		}
	}
}
