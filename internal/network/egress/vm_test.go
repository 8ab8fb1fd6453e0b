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

// A VM's name is found, and connected to, on the port that a rule opens. Whatever public
// allows opens none.
func TestOtherVM(t *testing.T) {
	w := newWorld(t, setup{policy: "public --allow web.vm:8080 --allow gone.vm:80"})
	server := serve(t, publicAddr, 0, echo)
	w.g.cfg.VM = func(_ context.Context, name string, port uint16) (flow.Conn, error) {
		if name != "web.vm" || port != 8080 {
			return nil, &dial.Error{Reason: dial.Refused, Err: fmt.Errorf("no VM %q runs", name)}
		}
		c, err := net.Dial("tcp", server.String())
		if err != nil {
			return nil, err
		}
		return c.(*net.TCPConn), nil
	}
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
	mustWrite(t, f, "payload")
	f.CloseWrite()
	if got := all(t, f); got != "payload" {
		t.Errorf("the answer has %q", got)
	}
	w.idle()
}
