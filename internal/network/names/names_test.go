package names

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var devAddr = netip.MustParseAddr("127.20.1.2")

func lookup(name string) (netip.Addr, bool) { return devAddr, name == "dev" }

func question(t testing.TB, name string, typ dnsmessage.Type) []byte {
	t.Helper()
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 7, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: typ, Class: dnsmessage.ClassINET}},
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAnswer(t *testing.T) {
	for _, c := range []struct {
		name  string
		typ   dnsmessage.Type
		rcode dnsmessage.RCode
		addr  string
	}{
		{"dev.vm.", dnsmessage.TypeA, dnsmessage.RCodeSuccess, "127.20.1.2"},
		{"DeV.Vm.", dnsmessage.TypeA, dnsmessage.RCodeSuccess, "127.20.1.2"},
		{"dev.vm.", dnsmessage.TypeALL, dnsmessage.RCodeSuccess, "127.20.1.2"},
		{"dev.vm.", dnsmessage.TypeAAAA, dnsmessage.RCodeSuccess, ""},
		{"dev.vm.", dnsmessage.TypeMX, dnsmessage.RCodeSuccess, ""},
		{"other.vm.", dnsmessage.TypeA, dnsmessage.RCodeNameError, ""},
		{"other.vm.", dnsmessage.TypeAAAA, dnsmessage.RCodeNameError, ""},
		{"below.dev.vm.", dnsmessage.TypeA, dnsmessage.RCodeNameError, ""},
		{"vm.", dnsmessage.TypeA, dnsmessage.RCodeSuccess, ""},
		{"_banger.vm.", dnsmessage.TypeA, dnsmessage.RCodeSuccess, "127.0.0.1"},
		{"dev.", dnsmessage.TypeA, dnsmessage.RCodeRefused, ""},
		{"example.org.", dnsmessage.TypeA, dnsmessage.RCodeRefused, ""},
		{"dev.notvm.", dnsmessage.TypeA, dnsmessage.RCodeRefused, ""},
		{".", dnsmessage.TypeA, dnsmessage.RCodeRefused, ""},
	} {
		var m dnsmessage.Message
		if err := m.Unpack(Answer(question(t, c.name, c.typ), lookup)); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		addr := ""
		for _, a := range m.Answers {
			addr += netip.AddrFrom4(a.Body.(*dnsmessage.AResource).A).String()
		}
		if m.RCode != c.rcode || addr != c.addr || m.ID != 7 || !m.Response || !m.RecursionDesired || len(m.Questions) != 1 || m.Questions[0].Name.String() != c.name {
			t.Errorf("%s %v: %v with %q, want %v with %q (%+v)", c.name, c.typ, m.RCode, addr, c.rcode, c.addr, m)
		}
	}
	for what, b := range map[string][]byte{"nothing": nil, "noise": []byte("noise"), "an answer": Answer(question(t, "dev.vm.", dnsmessage.TypeA), lookup)} {
		if got := Answer(b, lookup); got != nil {
			t.Errorf("%s was answered with %x", what, got)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(question(f, "dev.vm.", dnsmessage.TypeA))
	f.Add(question(f, "vm.", dnsmessage.TypeALL))
	f.Fuzz(func(t *testing.T, b []byte) {
		reply := Answer(b, lookup)
		if reply == nil {
			return
		}
		var m dnsmessage.Message
		if err := m.Unpack(reply); err != nil || !m.Response {
			t.Errorf("Answer(%x) = %x: %v", b, reply, err)
		}
	})
}

// resolver asks addr alone, over one protocol.
func resolver(network, addr string) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, addr)
	}}
}

func TestServer(t *testing.T) {
	hold, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := hold.LocalAddr().String()
	taken := Start(addr, lookup)
	if err := taken.Err(); err == nil || !strings.Contains(err.Error(), addr) {
		t.Errorf("on an address that is taken, Err = %v", err)
	}
	taken.Close()
	hold.Close()
	s := Start(addr, lookup)
	defer s.Close()
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for _, network := range []string{"udp", "tcp"} {
		got, err := resolver(network, addr).LookupHost(ctx, "dev.vm.")
		if err != nil || len(got) != 1 || got[0] != devAddr.String() {
			t.Errorf("by %s dev.vm is %v, %v", network, got, err)
		}
		_, err = resolver(network, addr).LookupHost(ctx, "other.vm.")
		if no := (*net.DNSError)(nil); !errors.As(err, &no) || !no.IsNotFound {
			t.Errorf("by %s other.vm is %v, want that there is none", network, err)
		}
	}
}
