package egress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"banger/internal/channel/flow"
	"banger/internal/channel/netflow"
	"banger/internal/network/dial"
	"banger/internal/network/policy"
)

// oneVM is a VM of which one port is a server of the test's.
type oneVM struct {
	name   string
	port   uint16
	server netip.AddrPort
}

func (o oneVM) Takes(_ context.Context, name string) error {
	if name != o.name {
		return fmt.Errorf("no VM %q runs", name)
	}
	return nil
}

func (o oneVM) Connect(ctx context.Context, name string, port uint16) (flow.Conn, error) {
	if err := o.Takes(ctx, name); err != nil {
		return nil, &dial.Error{Reason: dial.Refused, Err: err}
	}
	if port != o.port {
		return nil, &dial.Error{Reason: dial.Refused, Err: errors.New("nobody listens there")}
	}
	c, err := net.Dial("tcp", o.server.String())
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// A VM's name is found, and connected to, on the port that a rule opens. Whatever public
// allows opens none.
func TestOtherVM(t *testing.T) {
	w := newWorld(t, setup{policy: "public --allow web.vm:8080 --allow gone.vm:80"})
	w.g.cfg.VMs = oneVM{"web.vm", 8080, serve(t, publicAddr, 0, echo)}
	web := w.resolve("Web.VM")
	if !web.IsValid() {
		t.Fatal("the name is not found")
	}
	f := w.mustConnect(netip.AddrPortFrom(web, 8080))
	says(t, f, []byte("GET / HTTP/1.1\r\nHost: any.example\r\n\r\n"))
	f.CloseWrite()
	if _, err := io.ReadAll(struct{ io.Reader }{f}); err != nil {
		t.Errorf("read to the end: %v", err)
	}
	w.refused(netip.AddrPortFrom(web, 8081), netflow.Denied, "--allow web.vm:8081")
	w.refused(netip.AddrPortFrom(w.resolve("gone.vm"), 80), netflow.Refused, `no VM "gone.vm" runs`)
	if _, err := w.open(netflow.Request{Kind: netflow.Ping, Addr: netip.AddrPortFrom(web, 0)}); refusal(err) != netflow.Unreachable {
		t.Errorf("ping the name: %v, want a refusal", err)
	}
	if m := w.ask("web.vm", dnsmessage.TypeAAAA); m.RCode != dnsmessage.RCodeSuccess || len(m.Answers) > 0 {
		t.Errorf("of IPv6 the name has %v", m.Answers)
	}
	for _, name := range []string{"other.vm", "a.web.vm", "vm"} {
		if m := w.ask(name, dnsmessage.TypeA); m.RCode != dnsmessage.RCodeNameError {
			t.Errorf("%s: %v %v, want no such name", name, m.RCode, m.Answers)
		}
	}
	w.recorded("dns", "name=other.vm", "--allow other.vm:")
	for _, tt := range []struct {
		name   string
		port   uint16
		allow  bool
		failed string
	}{
		{"WEB.vm.", 8080, true, ""},
		{"web.vm", 8081, false, ""},
		{"gone.vm", 80, true, `no VM "gone.vm" runs`},
	} {
		c := w.g.Check(limited(t), tt.name, tt.port)
		if len(c) != 1 || c[0].Verdict.Allow != tt.allow || c[0].Failed != tt.failed {
			t.Errorf("check %s:%d: %+v, want allowed %v, failed %q", tt.name, tt.port, c, tt.allow, tt.failed)
		}
	}

	w.idle()

	// Without the rule its connections end.
	f = w.mustConnect(netip.AddrPortFrom(web, 8080))
	says(t, f, []byte("x"))
	if ended := w.g.SetPolicy(policy.Policy{Profile: policy.Public}); ended != 1 {
		t.Errorf("the stricter policy ended %d connections, want 1", ended)
	}
	cut(t, "without the rule", f)
	w.refused(netip.AddrPortFrom(web, 8080), netflow.Denied, "")
	if a := w.resolve("web.vm"); a.IsValid() {
		t.Errorf("without the rule the name has %s", a)
	}
	w.idle()
}

// refusal is the code of a flow's refusal, or 0.
func refusal(err error) byte {
	if r := (*flow.RefusedError)(nil); errors.As(err, &r) {
		return r.Code
	}
	return 0
}

// A ping to the host's name goes to the host, not to the network's address that the guest
// has for it.
func TestPingHost(t *testing.T) {
	w := newWorld(t, setup{policy: "deny --allow host:80"})
	if _, err := w.g.dialer.Ping(limited(t), netip.MustParseAddr("127.0.0.1"), 0, 1, nil); errors.Is(err, dial.ErrNoPing) {
		t.Skip(err)
	}
	f, err := w.open(netflow.Request{Kind: netflow.Ping, Addr: netip.AddrPortFrom(gateway, 0)})
	if err != nil {
		t.Fatal(err)
	}
	wantEcho(t, f)
	w.idle()
}

// wantEcho wants a ping's flow to bring back what it sends.
func wantEcho(t *testing.T, f *flow.Flow) {
	t.Helper()
	mustWrite(t, f, "payload")
	f.CloseWrite()
	if got := all(t, f); got != "payload" {
		t.Errorf("the answer has %q", got)
	}
}
