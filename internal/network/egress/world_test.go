package egress

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"banger/internal/channel/flow"
	"banger/internal/channel/netflow"
	"banger/internal/network/dial"
	"banger/internal/network/policy"
	"banger/internal/network/resolver"
)

// generous bounds what must come.
const generous = time.Minute

// routes are those of a host that reaches everything public by default, but for its LAN.
type routes struct{}

func (routes) Route(netip.Addr) (policy.Route, error) {
	return policy.Route{Reach: policy.ByDefault}, nil
}

// world is a VM's way out, with the guest's end of its flows.
type world struct {
	t     testing.TB
	g     *Guest
	dns   *nameserver
	guest *flow.Session

	mu      sync.Mutex
	events  []Event
	denials []netflow.Request // that the guest was told
	slow    time.Duration     // how long it takes to record one
}

type setup struct {
	policy  string // profile and flags
	routes  policy.Routes
	proxies *dial.Proxies
	options string // of resolv.conf
}

func newWorld(t testing.TB, s setup) *world {
	t.Helper()
	if noWorld != "" {
		t.Skip(noWorld)
	}
	w := &world{t: t, dns: serveNames(t)}
	if s.routes == nil {
		s.routes = routes{}
	}
	dir := t.TempDir()
	conf := filepath.Join(dir, "resolv.conf")
	options := cmp.Or(s.options, "timeout:2 attempts:1")
	if err := os.WriteFile(conf, []byte("nameserver 127.0.0.1\noptions "+options+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	host := &resolver.Host{ResolvConf: conf, Hosts: filepath.Join(dir, "hosts"), Bus: "unix:path=" + filepath.Join(dir, "no-bus")}
	w.g = New(Config{
		Policy: parsePolicy(t, s.policy), Routes: s.routes, Host: host, Proxies: s.proxies,
		Record: func(e Event) {
			w.mu.Lock()
			defer w.mu.Unlock()
			time.Sleep(w.slow)
			w.events = append(w.events, e)
		},
		Tell: w.tell,
	})
	var carrier *flow.Session
	w.guest, carrier = w.carrier()
	t.Cleanup(func() {
		w.g.Close()
		w.guest.Close()
		carrier.Close()
		host.Close()
	})
	return w
}

// carrier joins the guest with the way out by one more session.
func (w *world) carrier() (guest, host *flow.Session) {
	w.t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "carrier")
		if ends[i], err = net.FileConn(f); err != nil {
			w.t.Fatal(err)
		}
		f.Close()
	}
	guest = flow.New(ends[0], false, 0, func(f *flow.Flow) { f.Refuse(9, "not here") })
	return guest, flow.New(ends[1], true, 0, w.g.Handle)
}

// tell is the guest that hears of a denial: what asks from port 1 never says who it is.
func (w *world) tell(ctx context.Context, r netflow.Request) string {
	w.mu.Lock()
	w.denials = append(w.denials, r)
	w.mu.Unlock()
	if r.From.Port() == 1 {
		<-ctx.Done()
		return ""
	}
	return fmt.Sprintf("%s:%d", r.Proto, r.From.Port())
}

// parsePolicy reads a profile and flags.
func parsePolicy(t testing.TB, text string) policy.Policy {
	t.Helper()
	words := strings.Fields(text)
	profile, err := policy.ParseProfile(words[0])
	if err != nil {
		t.Fatal(err)
	}
	p := policy.Policy{Profile: profile}
	for i := 1; i+1 < len(words); i += 2 {
		r, err := policy.Parse(policy.Action(strings.TrimPrefix(words[i], "--")), words[i+1], policy.Origin{Source: policy.FromFlag})
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		p.Rules = append(p.Rules, r)
	}
	return p
}

func limited(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), generous)
	t.Cleanup(cancel)
	return ctx
}

// open opens a flow of the guest's.
func (w *world) open(r netflow.Request) (*flow.Flow, error) {
	return w.guest.Open(limited(w.t), r.Marshal())
}

func (w *world) connect(to netip.AddrPort) (*flow.Flow, error) {
	return w.open(netflow.Request{Kind: netflow.Connect, Addr: to, From: netip.MustParseAddrPort("10.0.2.15:40000")})
}

func (w *world) mustConnect(to netip.AddrPort) *flow.Flow {
	w.t.Helper()
	f, err := w.connect(to)
	if err != nil {
		w.t.Fatalf("connect to %s: %v", to, err)
	}
	w.t.Cleanup(f.Reset)
	return f
}

// refused connects, and holds the refusal's code and a part of its text.
func (w *world) refused(to netip.AddrPort, code byte, text string) {
	w.t.Helper()
	f, err := w.connect(to)
	var r *flow.RefusedError
	if !errors.As(err, &r) || r.Code != code || !strings.Contains(r.Text, text) {
		w.t.Errorf("connect to %s: %v, want a refusal with code %d and %q", to, err, code, text)
	}
	if err == nil {
		f.Reset()
	}
}

// recorded waits for an event that has all these parts, in the form of eventText.
func (w *world) recorded(parts ...string) {
	w.t.Helper()
	var all []string
	for deadline := time.Now().Add(generous); ; time.Sleep(5 * time.Millisecond) {
		all = all[:0]
		w.mu.Lock()
		for _, e := range w.events {
			all = append(all, eventText(e))
		}
		w.mu.Unlock()
		for _, text := range all {
			missing := false
			for _, p := range parts {
				missing = missing || !strings.Contains(text, p)
			}
			if !missing {
				return
			}
		}
		if time.Now().After(deadline) {
			w.t.Errorf("no event has %q; there are:\n%s", parts, strings.Join(all, "\n"))
			return
		}
	}
}

func eventText(e Event) string {
	return fmt.Sprintf("%s %s name=%s port=%d: %s; %s [%s]", e.Proto, e.Addr, e.Name, e.Port, e.Reason, e.Allow, e.Process)
}

// counted are the events with that reason: how many, and how often all of them happened.
func (w *world) counted(reason string) (events, times int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		if e.Reason == reason {
			events++
			times += max(e.Count, 1)
		}
	}
	return events, times
}

func (w *world) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.events)
}

// idle waits until the guest has no connection any more.
func (w *world) idle() {
	w.t.Helper()
	w.until("no connection is left", func() bool { return w.g.Flows() == 0 && w.guest.Flows() == 0 })
}

func (w *world) until(what string, is func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(generous); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("it is not so within %s that %s", generous, what)
		}
	}
}

// ask sends one question of DNS on a flow of its own.
func (w *world) ask(name string, t dnsmessage.Type) dnsmessage.Message {
	w.t.Helper()
	f, err := w.open(netflow.Request{Kind: netflow.DNS, From: netip.MustParseAddrPort("10.0.2.15:40001"), Addr: netip.MustParseAddrPort("10.0.2.3:53")})
	if err != nil {
		w.t.Fatalf("open a flow for DNS: %v", err)
	}
	defer f.Close()
	if _, err := f.Write(resolver.Frame(question(w.t, name, t))); err != nil {
		w.t.Fatal(err)
	}
	f.CloseWrite()
	return readAnswer(w.t, f)
}

func question(t testing.TB, name string, kind dnsmessage.Type) []byte {
	t.Helper()
	q := dnsmessage.Message{Header: dnsmessage.Header{ID: 7, RecursionDesired: true}, Questions: []dnsmessage.Question{{
		Name: dnsmessage.MustNewName(name + "."), Type: kind, Class: dnsmessage.ClassINET,
	}}}
	out, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func readAnswer(t testing.TB, r io.Reader) (m dnsmessage.Message) {
	t.Helper()
	text, err := readMessage(r)
	if err == nil {
		err = m.Unpack(text)
	}
	if err != nil {
		t.Fatalf("read an answer of DNS: %v", err)
	}
	return m
}

// resolve looks a name up as the guest does, and returns its IPv4 address, or none.
func (w *world) resolve(name string) (a netip.Addr) {
	w.t.Helper()
	for _, rr := range w.ask(name, dnsmessage.TypeA).Answers {
		if body, ok := rr.Body.(*dnsmessage.AResource); ok {
			a = netip.AddrFrom4(body.A)
		}
	}
	return a
}

// nameserver is the host's: it has what a test gives it.
type nameserver struct {
	mu    sync.Mutex
	zone  map[string][]netip.Addr
	held  chan struct{} // answers wait until it is closed
	down  bool
	asked int // answered
	came  int
}

func (n *nameserver) set(name string, addrs ...netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.zone[name] = addrs
}

func (n *nameserver) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked
}

// serveNames serves on port 53 until the test's end.
func serveNames(t testing.TB) *nameserver {
	t.Helper()
	n := &nameserver{zone: map[string][]netip.Addr{}}
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 53})
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { // ends with c
		buf := make([]byte, 4096)
		for {
			size, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			n.mu.Lock()
			held := n.held
			n.came++
			n.mu.Unlock()
			query := bytes.Clone(buf[:size])
			serving.Go(func() { // ends when held is closed
				if held != nil {
					<-held
				}
				if out := n.answer(query); out != nil {
					c.WriteToUDPAddrPort(out, from)
				}
			})
		}
	})
	t.Cleanup(func() {
		c.Close()
		serving.Wait()
	})
	return n
}

func (n *nameserver) answer(query []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(query) != nil || len(m.Questions) != 1 {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked++
	if n.down {
		return nil
	}
	q := m.Questions[0]
	addrs, known := n.zone[resolver.Clean(q.Name.String())]
	m.Header.Response = true
	m.Additionals = nil
	if !known {
		m.Header.RCode = dnsmessage.RCodeNameError
	}
	for _, a := range addrs {
		h := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: dnsmessage.ClassINET, TTL: 60}
		switch {
		case q.Type == dnsmessage.TypeA && a.Is4():
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: a.As4()}})
		case q.Type == dnsmessage.TypeAAAA && a.Is6():
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
		}
	}
	out, err := m.Pack()
	if err != nil {
		return nil
	}
	return out
}

// serve serves connections to addr, with a port of the kernel's choice if it has none, each
// with handle, until the test's end.
func serve(t testing.TB, addr netip.Addr, port uint16, handle func(*net.TCPConn)) netip.AddrPort {
	t.Helper()
	if noWorld != "" {
		t.Skip(noWorld)
	}
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(addr, port)))
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	var mu sync.Mutex
	conns := map[*net.TCPConn]struct{}{}
	serving.Go(func() { // ends with l
		for {
			c, err := l.AcceptTCP()
			if err != nil {
				return
			}
			mu.Lock()
			conns[c] = struct{}{}
			mu.Unlock()
			serving.Go(func() { // ends with c
				handle(c)
				c.Close()
				mu.Lock()
				delete(conns, c)
				mu.Unlock()
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for c := range conns {
			c.Close()
		}
		mu.Unlock()
		serving.Wait()
	})
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// echo sends back what comes, and then its end.
func echo(c *net.TCPConn) {
	if _, err := io.Copy(c, struct{ io.Reader }{c}); err == nil {
		c.CloseWrite()
	}
}

// client is a flow as net's and net/http's users want it.
type client struct{ *flow.Flow }

func (client) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (client) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (client) SetDeadline(time.Time) error      { return nil }
func (client) SetReadDeadline(time.Time) error  { return nil }
func (client) SetWriteDeadline(time.Time) error { return nil }
