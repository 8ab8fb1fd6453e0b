package ports

import (
	"errors"
	"hash/maphash"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
)

func listen(t *testing.T, addr string) (*net.TCPListener, netip.AddrPort) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Skipf("listen on %s: %v", addr, err)
	}
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener), unmap(l.Addr().(*net.TCPAddr).AddrPort())
}

// ways are both ways to ask.
var ways = map[string]func() ([]Socket, error){
	"kernel": Listening,
	"proc":   func() ([]Socket, error) { return listeningOfProc("/proc") },
}

func TestListening(t *testing.T) {
	for name, list := range ways {
		for _, addr := range []string{"127.0.0.1:0", "127.3.4.5:0", "[::1]:0", "0.0.0.0:0", "[::]:0"} {
			t.Run(name+" "+addr, func(t *testing.T) {
				l, at := listen(t, addr)
				find := func() int {
					t.Helper()
					all, err := list()
					if err != nil {
						t.Fatal(err)
					}
					return slices.IndexFunc(all, func(s Socket) bool {
						return s.Addr == at && s.UID == uint32(os.Getuid()) && s.Inode != 0 && !s.Remote.IsValid()
					})
				}
				if find() < 0 {
					t.Errorf("the listener on %v is not listed", at)
				}
				l.Close()
				if find() >= 0 {
					t.Errorf("the listener on %v is listed after its end", at)
				}
			})
		}
	}
}

func TestPeer(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "127.3.4.5:0", "[::1]:0", "[::]:0"} {
		t.Run(addr, func(t *testing.T) {
			l, at := listen(t, addr)
			to := at
			if at.Addr().IsUnspecified() {
				to = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), at.Port())
			}
			client, err := net.Dial("tcp", to.String())
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			server, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			remote, local := server.RemoteAddr().(*net.TCPAddr).AddrPort(), server.LocalAddr().(*net.TCPAddr).AddrPort()
			s, err := Peer(remote, local)
			if err != nil || s.UID != uint32(os.Getuid()) || s.Inode == 0 {
				t.Errorf("Peer = %+v, %v, want a socket of user %d", s, err, os.Getuid())
			}
			conns, err := connectionsOfProc("/proc")
			if err != nil || !slices.ContainsFunc(conns, func(c Socket) bool {
				return c.Addr == unmap(remote) && c.Remote == unmap(local) && c.UID == s.UID && c.Inode == s.Inode
			}) {
				t.Errorf("/proc has no such connection (%v)", err)
			}
			client.Close() // the server has not closed its end: the kernel keeps the other one
			if s, err := Peer(remote, local); !errors.Is(err, ErrNoSocket) {
				t.Errorf("Peer of a closed end = %+v, %v, want ErrNoSocket", s, err)
			}
		})
	}
	_, at := listen(t, "127.0.0.1:0")
	if s, err := Peer(at, netip.MustParseAddrPort("127.0.0.1:1")); !errors.Is(err, ErrNoSocket) {
		t.Errorf("Peer of a listener = %+v, %v, want ErrNoSocket", s, err)
	}
}

func TestHolder(t *testing.T) {
	_, at := listen(t, "127.0.0.1:0")
	h, ok := HolderOf(at)
	if !ok || h.Process.PID != os.Getpid() || !strings.Contains(h.String(), "(pid ") {
		t.Errorf("HolderOf(%v) = %v, %v, want this process", at, h, ok)
	}
	_, all := listen(t, "0.0.0.0:0")
	other := netip.AddrPortFrom(netip.MustParseAddr("127.9.9.9"), all.Port())
	if h, ok := HolderOf(other); !ok || h.Addr != all {
		t.Errorf("HolderOf(%v) = %v, %v, want the listener on all addresses", other, h, ok)
	}
	if h, ok := HolderOf(netip.AddrPortFrom(netip.MustParseAddr("127.9.9.9"), at.Port())); ok {
		t.Errorf("HolderOf another address of the port = %v", h)
	}
	if got := (Holder{Socket: Socket{UID: 7}}).String(); got != "a process of user 7" {
		t.Errorf("String = %q", got)
	}
}

func TestTakes(t *testing.T) {
	for _, c := range []struct {
		listener string
		v6only   bool
		addr     string
		want     bool
	}{
		{"127.0.0.1:80", false, "127.0.0.1:80", true},
		{"127.0.0.1:80", false, "127.0.0.1:81", false},
		{"127.0.0.1:80", false, "127.0.0.2:80", false},
		{"0.0.0.0:80", false, "127.0.0.2:80", true},
		{"0.0.0.0:80", false, "[::1]:80", false},
		{"[::]:80", false, "127.0.0.2:80", true},
		{"[::]:80", true, "127.0.0.2:80", false},
		{"[::]:80", true, "[::1]:80", true},
	} {
		s := Socket{Addr: netip.MustParseAddrPort(c.listener), V6Only: c.v6only}
		if got := s.takes(netip.MustParseAddrPort(c.addr)); got != c.want {
			t.Errorf("a listener on %s (v6 only: %v) takes %s: %v, want %v", c.listener, c.v6only, c.addr, got, c.want)
		}
	}
}

func TestWatcher(t *testing.T) {
	var w Watcher
	defer w.Close()
	if _, changed, err := w.Look(); err != nil || !changed {
		t.Fatalf("the first look: changed %v, %v", changed, err)
	}
	await := func(at netip.AddrPort, want bool) {
		t.Helper()
		for range 100 { // other programs' listeners change too
			now, changed, err := w.Look()
			if err != nil {
				t.Fatal(err)
			}
			if changed && slices.ContainsFunc(now, func(s Socket) bool { return s.Addr == at }) == want {
				return
			}
		}
		t.Errorf("no look found a change with the listener on %v: %v", at, want)
	}
	l, at := listen(t, "127.0.0.1:0")
	await(at, true)
	l.Close()
	await(at, false)
}

func FuzzSumMessages(f *testing.F) {
	f.Add([]byte{20, 0, 0, 0, 3, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var h maphash.Hash
		sumMessages(b, &h)
	})
}

func FuzzParse(f *testing.F) {
	f.Add(make([]byte, messageLen))
	f.Add(append(make([]byte, messageLen), 5, 0, attrV6Only, 0, 1, 0, 0, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := parse(b); err == nil && !s.Addr.IsValid() {
			t.Errorf("parse(%x) = %+v", b, s)
		}
	})
}

func FuzzTable(f *testing.F) {
	f.Add("  sl  local_address\n   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12345 1\n")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := readTable(strings.NewReader(text))
		for _, s := range all {
			if err == nil && !s.Addr.IsValid() {
				t.Errorf("readTable(%q) has %+v", text, s)
			}
		}
	})
}

func BenchmarkListening(b *testing.B) {
	for range 1000 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
	}
	b.Run("look", func(b *testing.B) {
		var w Watcher
		defer w.Close()
		for b.Loop() {
			if _, _, err := w.Look(); err != nil {
				b.Fatal(err)
			}
		}
	})
	for name, list := range ways {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if all, err := list(); err != nil || len(all) < 1000 {
					b.Fatal(len(all), err)
				}
			}
		})
	}
}
