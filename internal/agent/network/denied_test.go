package network

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/channel/netflow"
)

func TestOneLine(t *testing.T) {
	for name, want := range map[string]string{"curl": "curl", "a b": "a b", "x\n2026 fake": "x?2026 fake", "\x1b[2J": "?[2J", "é\xff": "é�"} {
		if got := oneLine(name); got != want {
			t.Errorf("oneLine(%q) = %q, want %q", name, got, want)
		}
	}
}

// The file has each denial once, by the second, and never more than twice its size.
func TestDenials(t *testing.T) {
	d := denials{path: filepath.Join(t.TempDir(), "denied")}
	add := func(text, process string) {
		t.Helper()
		if err := d.add(text, process); err != nil {
			t.Fatal(err)
		}
	}
	add("dns a.example: no", "curl[7]")
	add("dns a.example: no", "curl[7]")
	add("dns b.example\nfake: no", "")
	text, err := os.ReadFile(d.path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if len(lines) != 2 || !strings.HasSuffix(lines[0], "Z denied dns a.example: no, asked by curl[7]") || !strings.HasSuffix(lines[1], "Z denied dns b.example?fake: no") {
		t.Errorf("the file has %q", lines)
	}
	d.at = time.Time{}
	add("dns b.example\nfake: no", "")
	for n := range 2000 {
		add(fmt.Sprintf("tcp 93.184.216.34:%d: no; --allow 93.184.216.34:%d allows it", n, n), "curl[7]")
	}
	text, err = os.ReadFile(d.path)
	if err != nil {
		t.Fatal(err)
	}
	lines = strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if len(text) > maxDenied+200 || !strings.Contains(lines[len(lines)-1], ":1999: no") || !strings.HasPrefix(lines[0], "20") {
		t.Errorf("the file has %d bytes, from %q to %q", len(text), lines[0], lines[len(lines)-1])
	}
}

// The process that asks is found by its socket: of TCP, of UDP connected or not, of IPv6's that
// speaks IPv4, as Java's.
func TestFindProcess(t *testing.T) {
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
		if got := findProcess(r); got != me {
			t.Errorf("%s: findProcess(%+v) = %q, want %q", name, r, got, me)
		}
	}
	for _, proto := range []string{netflow.TCP, netflow.UDP, netflow.ICMP, "other"} {
		r := netflow.Request{Proto: proto, Addr: tcp, From: netip.AddrPortFrom(loopback, 1)}
		if got := findProcess(r); got != "" {
			t.Errorf("findProcess(%+v) = %q, want none", r, got)
		}
	}
}
