package egress

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"banger/internal/channel/flow"
	"banger/internal/channel/netflow"
	"banger/internal/network/policy"
)

// cut holds that a flow is reset.
func cut(t *testing.T, what string, f *flow.Flow) {
	t.Helper()
	if text, err := io.ReadAll(struct{ io.Reader }{f}); !errors.Is(err, flow.ErrReset) {
		t.Errorf("%s: %q came, %v, want %v", what, text, err, flow.ErrReset)
	}
}

// goesOn holds that a flow to echo goes on.
func goesOn(t *testing.T, what string, f *flow.Flow) {
	t.Helper()
	if _, err := f.Write([]byte{1, 2}); err != nil {
		t.Errorf("%s: write: %v", what, err)
		return
	}
	if _, err := io.ReadFull(f, make([]byte, 2)); err != nil {
		t.Errorf("%s: read: %v", what, err)
	}
}

// says sends first bytes to echo, and waits until they are back.
func says(t *testing.T, f *flow.Flow, text []byte) {
	t.Helper()
	f.Write(text)
	if _, err := io.ReadFull(f, make([]byte, len(text))); err != nil {
		t.Errorf("%q: %v", text, err)
	}
}

// A stricter policy resets the flows that it denies, and no others, those among them that
// passed under one that judged no first bytes.
func TestSetPolicy(t *testing.T) {
	w := newWorld(t, setup{policy: "public"})
	w.dns.set("site.example", publicAddr)
	w.dns.set("bad.example", otherAddr)
	site, other := serve(t, publicAddr, 443, echo), serve(t, otherAddr, 443, echo)
	w.resolve("site.example")
	open := func(to netip.AddrPort, first []byte) *flow.Flow {
		f := w.mustConnect(to)
		if first != nil {
			says(t, f, first)
		}
		return f
	}
	good := open(site, hello(t, "site.example"))
	evil := open(site, hello(t, "evil.example"))
	plain := open(site, []byte{0})
	unsaid := open(site, nil)
	literal := open(other, []byte{0})
	part := w.mustConnect(serve(t, publicAddr, 80, func(c *net.TCPConn) { io.Copy(io.Discard, c) }))
	part.Write(hello(t, "evil.example")[:20])
	w.until("a part has come", func() bool { return w.held() == 20 })

	if n := w.g.SetPolicy(parsePolicy(t, "public --deny bad.example")); n != 1 {
		t.Errorf("%d connections are ended by a denied name, want 1", n)
	}
	cut(t, "to the address of a denied name", literal)
	w.recorded("is an address of bad.example", "[tcp:40000]")
	w.refused(netip.AddrPortFrom(goneAddr, 443), netflow.Unreachable, "")

	if n := w.g.SetPolicy(parsePolicy(t, "deny --allow site.example")); n != 1 {
		t.Errorf("%d connections are ended by a profile, want 1", n)
	}
	cut(t, "with another SNI", evil)
	w.recorded("its TLS says evil.example", "--allow evil.example", "[tcp:40000]")
	goesOn(t, "with the SNI", good)
	goesOn(t, "with other bytes", plain)
	part.Write(hello(t, "evil.example")[20:])
	cut(t, "with another SNI after the change", part)
	unsaid.Write(hello(t, "evil.example"))
	cut(t, "with another SNI, later", unsaid)
	w.refused(other, netflow.Denied, "")

	w.g.SetPolicy(parsePolicy(t, "public"))
	goesOn(t, "to what was denied", open(other, nil))
	if n := w.g.SetPolicy(parsePolicy(t, "deny")); n != 3 {
		t.Errorf("%d connections are ended by deny, want 3", n)
	}
	cut(t, "under deny", good)
	cut(t, "under deny", plain)
	w.idle()
	if got := w.g.Policy().Profile; got != policy.DenyAll {
		t.Errorf("the profile is %s", got)
	}
}

// A policy that changes while a connection is dialled counts for it.
func TestSetPolicyWhileDialling(t *testing.T) {
	w := newWorld(t, setup{policy: "public --deny slow.example"})
	held := make(chan struct{})
	w.dns.mu.Lock()
	w.dns.held = held
	w.dns.mu.Unlock()
	addr := serve(t, publicAddr, 443, echo)
	err := make(chan error, 1)
	go func() { // ends with the connect
		_, e := w.connect(addr)
		err <- e
	}()
	w.until("the connection is being made", func() bool { w.g.mu.Lock(); defer w.g.mu.Unlock(); return w.g.flows == 1 })
	w.g.SetPolicy(parsePolicy(t, "deny"))
	close(held)
	var r *flow.RefusedError
	if e := <-err; !errors.As(e, &r) || r.Code != netflow.Denied {
		t.Errorf("connect: %v, want a denial", e)
	}
	w.idle()
}

// A connection that is just made is judged by the last of two policies, whoever judges it last.
func TestSetPolicyWhileKept(t *testing.T) {
	w := newWorld(t, setup{policy: "public"})
	q := policy.Question{Names: []string{"site.example"}, Addr: publicAddr, Port: 443, Proto: policy.TCP}
	c := &connection{by: w.g.judged(), question: q, verdict: w.g.judged().Judge(q)}
	w.g.SetPolicy(parsePolicy(t, "public --deny slow.example"))
	held := make(chan struct{})
	w.dns.mu.Lock()
	w.dns.held = held
	w.dns.mu.Unlock()
	kept := make(chan bool)
	go func() { kept <- w.g.keep(limited(t), c) }() // ends when held is closed
	w.until("the denied name is looked up", func() bool { w.dns.mu.Lock(); defer w.dns.mu.Unlock(); return w.dns.came > 0 })
	w.g.SetPolicy(parsePolicy(t, "deny --allow site.example"))
	close(held)
	if !<-kept || !c.verdict.MustSay {
		t.Errorf("the connection is judged by the policy before the last one: %+v", c.verdict)
	}
	w.g.forget(c)
}

// holding holds the first question about a route until it is let go.
type holding struct {
	routes
	once         *sync.Once
	asked, letGo chan struct{}
}

func (h holding) Route(a netip.Addr) (policy.Route, error) {
	h.once.Do(func() {
		close(h.asked)
		<-h.letGo
	})
	return h.routes.Route(a)
}

// A name that comes to be denied while a connection is judged denies its address too.
func TestDeniedWhileDialling(t *testing.T) {
	h := holding{once: &sync.Once{}, asked: make(chan struct{}), letGo: make(chan struct{})}
	w := newWorld(t, setup{policy: "public", routes: h})
	w.dns.set("bad.example", publicAddr)
	addr := serve(t, publicAddr, 443, func(c *net.TCPConn) { io.Copy(io.Discard, c) })
	connected := make(chan *flow.Flow, 1)
	go func() { // ends with the connection's answer; waited for below
		f, _ := w.connect(addr)
		connected <- f
	}()
	<-h.asked
	w.g.SetPolicy(parsePolicy(t, "public --deny bad.example"))
	close(h.letGo)
	if f := <-connected; f != nil {
		f.Write([]byte{0})
		time.AfterFunc(generous, f.Reset)
		w.recorded("is an address of bad.example")
		cut(t, "to the address of a denied name", f)
	}
	w.recorded(publicAddr.String(), "is an address of bad.example")
}

// The kernel's own answer: the host's own addresses are closed, those that no route leads to
// are not, and fail.
func TestKernel(t *testing.T) {
	w := newWorld(t, setup{policy: "public", routes: policy.Kernel{}})
	addr := serve(t, publicAddr, 443, echo)
	w.refused(addr, netflow.Denied, "this host's own")
	w.recorded(publicAddr.String(), "port=443", "this host's own", "--allow host:443", "[tcp:40000]")
	w.refused(netip.AddrPortFrom(goneAddr, 443), netflow.Unreachable, "")
}

// --allow host:PORT opens a port of the host's loopback, whether the guest has looked the
// name up or not.
func TestHostPort(t *testing.T) {
	w := newWorld(t, setup{policy: "public"})
	to := serve(t, netip.MustParseAddr("127.0.0.1"), 0, echo)
	at := netip.AddrPortFrom(gateway, to.Port())
	w.refused(at, netflow.Denied, "opened port by port")
	w.recorded("--allow host:" + strings.TrimPrefix(at.String(), gateway.String()+":"))
	if a := w.resolve(policy.HostName); a.IsValid() {
		t.Errorf("the host's name has %s without a rule", a)
	}
	w.g.SetPolicy(parsePolicy(t, "deny --allow host"+strings.TrimPrefix(at.String(), gateway.String())))
	goesOn(t, "by the address", w.mustConnect(at))
	for _, name := range []string{policy.HostName, policy.HostNameDocker} {
		if a := w.resolve(name); a != gateway {
			t.Errorf("%s has the address %s", name, a)
		}
	}
	goesOn(t, "by the name", w.mustConnect(at))
	w.refused(netip.AddrPortFrom(gateway, 9), netflow.Denied, "")
	w.refused(to, netflow.Denied, "")
}

// The vectors of package policy about connections, each through a real flow, as far as they
// are about an address of this host or a denial.
func TestVectors(t *testing.T) {
	if noWorld != "" {
		t.Skip(noWorld)
	}
	text, err := os.ReadFile("../policy/testdata/vectors.txt")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, setup{policy: "deny"})
	w.guest.Close() // the way in is the guest's own function here
	rules, denials, allowed := "", 0, 0
	for n, line := range strings.Split(string(text), "\n") {
		if of, ok := strings.CutPrefix(line, "== "); ok {
			rules = of
			if strings.Contains(of, ":--") || strings.Contains(of, "proxy_resolves") {
				rules = "" // rules of other origins
			} else {
				w.g.SetPolicy(parsePolicy(t, of))
			}
			continue
		}
		cols := strings.SplitN(line, "|", 3)
		if rules == "" || len(cols) != 3 {
			continue
		}
		fields := strings.Fields(cols[0])
		var q netip.AddrPort
		simple := true
		for _, f := range fields {
			key, value, _ := strings.Cut(f, "=")
			switch key {
			case "addr":
				if a, err := netip.ParseAddr(value); err == nil {
					q = netip.AddrPortFrom(a, q.Port())
				}
			case "port":
				q = netip.MustParseAddrPort("[::]:" + value)
				for _, f := range fields {
					if v, ok := strings.CutPrefix(f, "addr="); ok {
						if a, err := netip.ParseAddr(v); err == nil {
							q = netip.AddrPortFrom(a, q.Port())
						}
					}
				}
			default:
				simple = false // it has names, or first bytes
			}
		}
		if !simple || !q.IsValid() || q.Port() == 0 {
			continue
		}
		if denied := strings.HasPrefix(strings.TrimSpace(cols[1]), "deny"); denied && !lanVector(q.Addr()) {
			denials++
			w2, h := w.carrier()
			f, err := w2.Open(limited(t), netflow.Request{Kind: netflow.Connect, Addr: q}.Marshal())
			var r *flow.RefusedError
			if !errors.As(err, &r) || r.Code != netflow.Denied {
				t.Errorf("line %d: %s under %q: %v, %v, want a denial", n+1, cols[0], rules, f, err)
			}
			w2.Close()
			h.Close()
		} else if !denied {
			allowed++
		}
	}
	if denials < 50 {
		t.Errorf("%d vectors are dialled, want 50 or more", denials)
	}
}

// lanVector says whether an address of the vectors is closed only by the routes of the host
// that they are about.
func lanVector(a netip.Addr) bool {
	for _, p := range []string{"5.9.10.0/29", "2a01:4f8:1:2::/64", "45.33.32.156/32", "20.30.0.0/16", "9.9.9.99/32", "2620:99:1::/48", "2002:509:a00::/40", "64:ff9b::509:a00/120"} {
		if netip.MustParsePrefix(p).Contains(a.Unmap()) {
			return true
		}
	}
	return false
}

// A closed address is opened by its name, or by itself, with its port.
func TestOpened(t *testing.T) {
	w := newWorld(t, setup{policy: "public"})
	w.dns.set("lan.example", lanAddr)
	addr := serve(t, lanAddr, 8443, func(c *net.TCPConn) { echo(c) })
	w.resolve("lan.example")
	w.refused(addr, netflow.Denied, "private")
	w.recorded("name=lan.example", "--allow lan.example:8443")
	w.g.SetPolicy(parsePolicy(t, "public --allow lan.example:8443"))
	goesOn(t, "by its name", w.mustConnect(addr))
	w.g.SetPolicy(parsePolicy(t, "deny --allow "+addr.String()))
	goesOn(t, "by its address", w.mustConnect(addr))
	for _, c := range w.g.Check(limited(t), "lan.example", 8443) {
		if !c.Verdict.Allow && c.Addr.IsValid() {
			t.Errorf("Check: %+v", c)
		}
	}
}

// A name is checked as a user types it in a rule.
func TestCheckTyped(t *testing.T) {
	w := newWorld(t, setup{policy: "deny --allow bücher.example --allow host:3000"})
	w.dns.set("xn--bcher-kva.example", publicAddr)
	for _, tt := range []struct {
		name, want string
		port       uint16
		allow      bool
	}{
		{"Bücher.example", "xn--bcher-kva.example", 443, true},
		{"host", policy.HostName, 3000, true},
		{"host", policy.HostName, 3001, false},
		{"HOST.banger.internal", "HOST.banger.internal", 3000, true},
	} {
		c := w.g.Check(limited(t), tt.name, tt.port)
		if len(c) != 1 || c[0].Name != tt.want || c[0].Verdict.Allow != tt.allow || c[0].Failed != "" {
			t.Errorf("Check(%q, %d) = %+v, want %s, allowed: %v", tt.name, tt.port, c, tt.want, tt.allow)
		}
	}
}

// changing are routes of which one address is on a network of its own, once that is set.
type changing struct{ specific atomic.Value }

func (c *changing) Route(a netip.Addr) (policy.Route, error) {
	if a == c.specific.Load() {
		return policy.Route{Reach: policy.BySpecific, Prefix: netip.PrefixFrom(a, 24)}, nil
	}
	return policy.Route{Reach: policy.ByDefault}, nil
}

// A host that joins a VPN closes what that leads to: connections there are reset, others and
// those that the user allowed go on.
func TestRecheck(t *testing.T) {
	net := &changing{}
	w := newWorld(t, setup{policy: "public --allow 93.184.216.34:4444", routes: net})
	closed, allowed, other := serve(t, publicAddr, 0, echo), serve(t, publicAddr, 4444, echo), serve(t, otherAddr, 0, echo)
	fs := []*flow.Flow{w.mustConnect(closed), w.mustConnect(allowed), w.mustConnect(other)}
	if n := w.g.Recheck(); n != 0 {
		t.Errorf("%d connections end without a change", n)
	}
	for _, f := range fs {
		goesOn(t, "without a change", f)
	}
	net.specific.Store(publicAddr)
	if n := w.g.Recheck(); n != 1 {
		t.Errorf("%d connections end, want 1", n)
	}
	cut(t, "to the VPN", fs[0])
	goesOn(t, "that is allowed", fs[1])
	goesOn(t, "to another", fs[2])
	w.recorded("tcp 93.184.216.34", "--allow 93.184.216.34:", "[tcp:40000]")
}
