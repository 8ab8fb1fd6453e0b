package network

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"banger/internal/channel/netflow"
)

// The process that asks is found by its socket: of TCP, of UDP connected or not, of IPv6's that
// speaks IPv4, as Java's.
func TestOwners(t *testing.T) {
	var o owners
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	me := fmt.Sprintf("%s[%d]", strings.TrimSpace(string(comm)), os.Getpid())
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	tcp := l.Addr().(*net.TCPAddr).AddrPort()
	u, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	udp := u.LocalAddr().(*net.UDPAddr).AddrPort()
	loopback := netip.MustParseAddr("127.0.0.1")
	socket := func(family, kind int, bind, connect unix.Sockaddr) netip.AddrPort {
		t.Helper()
		fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Skip(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		if bind != nil {
			if err := unix.Bind(fd, bind); err != nil {
				t.Fatal(err)
			}
		}
		if connect != nil {
			if err := unix.Connect(fd, connect); err != nil {
				t.Fatal(err)
			}
		}
		name, err := unix.Getsockname(fd)
		if err != nil {
			t.Fatal(err)
		}
		port := 0
		switch n := name.(type) {
		case *unix.SockaddrInet4:
			port = n.Port
		case *unix.SockaddrInet6:
			port = n.Port
		}
		return netip.AddrPortFrom(loopback, uint16(port))
	}
	mapped := func(port uint16) unix.Sockaddr {
		return &unix.SockaddrInet6{Port: int(port), Addr: loopback.As16()} // ::ffff:127.0.0.1
	}
	plain := func(port uint16) unix.Sockaddr {
		return &unix.SockaddrInet4{Port: int(port), Addr: [4]byte{127, 0, 0, 1}}
	}
	rows := map[string]netflow.Request{
		"tcp":              {Proto: netflow.TCP, Addr: tcp, From: socket(unix.AF_INET, unix.SOCK_STREAM, nil, plain(tcp.Port()))},
		"tcp of IPv6":      {Proto: netflow.TCP, Addr: tcp, From: socket(unix.AF_INET6, unix.SOCK_STREAM, nil, mapped(tcp.Port()))},
		"udp":              {Proto: netflow.UDP, Addr: udp, From: socket(unix.AF_INET, unix.SOCK_DGRAM, nil, plain(udp.Port()))},
		"udp, unconnected": {Proto: netflow.UDP, Addr: udp, From: socket(unix.AF_INET, unix.SOCK_DGRAM, &unix.SockaddrInet4{}, nil)},
		"udp of IPv6":      {Proto: netflow.UDP, Addr: udp, From: socket(unix.AF_INET6, unix.SOCK_DGRAM, &unix.SockaddrInet6{}, nil)},
	}
	for name, r := range rows {
		if got := o.find(r); got != me {
			t.Errorf("%s: find(%+v) = %q, want %q", name, r, got, me)
		}
	}
	for _, proto := range []string{netflow.TCP, netflow.UDP, netflow.ICMP, "other"} {
		r := netflow.Request{Proto: proto, Addr: tcp, From: netip.AddrPortFrom(loopback, 1)}
		if got := o.find(r); got != "" {
			t.Errorf("find(%+v) = %q, want none", r, got)
		}
	}
	// Many at once are found by few looks.
	many := make([]netflow.Request, 200)
	for n := range many {
		many[n] = netflow.Request{Proto: netflow.TCP, Addr: tcp, From: socket(unix.AF_INET, unix.SOCK_STREAM, nil, plain(tcp.Port()))}
	}
	var asking sync.WaitGroup
	for _, r := range many {
		asking.Go(func() {
			if got := o.find(r); got != me {
				t.Errorf("find(%+v) = %q, want %q", r, got, me)
			}
		})
	}
	asking.Wait()
}
