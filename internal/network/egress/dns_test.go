package egress

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"banger/internal/channel/flow"
	"banger/internal/channel/netflow"
	"banger/internal/network/dial"
	"banger/internal/network/resolver"
)

func TestDNS(t *testing.T) {
	w := newWorld(t, setup{policy: "public --deny bad.example"})
	w.dns.set("site.example", publicAddr, public6Addr)
	for _, tcp := range []bool{false, true} {
		f, err := w.open(netflow.Request{Kind: netflow.DNS, TCP: tcp})
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range []struct {
			name string
			kind dnsmessage.Type
			code dnsmessage.RCode
			n    int
		}{
			{"site.example", dnsmessage.TypeA, 0, 1},
			{"site.example", dnsmessage.TypeAAAA, 0, 1},
			{"none.example", dnsmessage.TypeA, dnsmessage.RCodeNameError, 0},
			{"site.example", 65, 0, 0},
			{"34.216.184.93.in-addr.arpa", dnsmessage.TypePTR, 0, 1},
			{"1.0.0.10.in-addr.arpa", dnsmessage.TypePTR, dnsmessage.RCodeNameError, 0},
		} {
			if _, err := f.Write(resolver.Frame(question(t, row.name, row.kind))); err != nil {
				t.Fatal(err)
			}
			if m := readAnswer(t, f); m.RCode != row.code || len(m.Answers) != row.n {
				t.Errorf("TCP %v: %s %s: %s with %d records, want %s with %d", tcp, row.name, row.kind, m.RCode, len(m.Answers), row.code, row.n)
			}
		}
		f.CloseWrite()
		if rest, err := io.ReadAll(struct{ io.Reader }{f}); err != nil || len(rest) > 0 {
			t.Errorf("after the guest's end: %q, %v", rest, err)
		}
	}
	w.idle()
}

// A connection to port 53 that asks nothing any more is not held.
func TestDNSIdle(t *testing.T) {
	w := newWorld(t, setup{policy: "public"})
	w.g.dnsIdle = 20 * time.Millisecond
	f, err := w.open(netflow.Request{Kind: netflow.DNS, TCP: true})
	if err != nil {
		t.Fatal(err)
	}
	cut(t, "without a question", f)
}

// A name that is denied is not asked for, and recorded once a question with what would
// allow it; names that nobody misses are not recorded.
func TestDNSDenied(t *testing.T) {
	w := newWorld(t, setup{policy: "deny --allow site.example"})
	asked := w.dns.count()
	if m := w.ask("bad.example", dnsmessage.TypeA); m.RCode != dnsmessage.RCodeNameError {
		t.Errorf("a denied name: %s", m.RCode)
	}
	w.ask("esm.ubuntu.com", dnsmessage.TypeA)
	w.recorded("dns", "name=bad.example", "--allow bad.example")
	if n := w.dns.count() - asked; n != 0 {
		t.Errorf("the host's resolver was asked %d times for denied names", n)
	}
	w.ask("bad.example", dnsmessage.TypeAAAA)
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.events) != 2 || !w.events[0].Same(w.events[1]) {
		t.Errorf("the events are %+v, want the same twice", w.events)
	}
}

// What can't be a host's name is quoted, so that it does not read as what would allow it.
func TestDNSNoName(t *testing.T) {
	w := newWorld(t, setup{policy: "public"})
	if m := w.ask("x; --allow evil.example allows it", dnsmessage.TypeA); m.RCode != dnsmessage.RCodeNameError {
		t.Errorf("no name: %s", m.RCode)
	}
	w.recorded(`dns  name="x; --allow evil.example allows it" port=0: this is not the name of a host; `)
}

// 64 names of one address within a minute, by a resolver that is slow: each is found, and is
// connected to by its name, also the one that was asked for first.
func TestManyNames(t *testing.T) {
	w := newWorld(t, setup{policy: "deny --allow *.many.example --allow first.example:8443", options: "timeout:30 attempts:1"})
	web, first := serve(t, publicAddr, 443, echo), serve(t, publicAddr, 8443, echo)
	names := []string{"first.example"}
	for n := range 64 {
		names = append(names, fmt.Sprintf("n%d.many.example", n))
	}
	for _, name := range names {
		w.dns.set(name, publicAddr)
	}
	if a := w.resolve("first.example"); a != publicAddr {
		t.Fatalf("the first name has %s", a)
	}
	held := make(chan struct{})
	w.dns.mu.Lock()
	w.dns.held = held
	w.dns.mu.Unlock()
	time.AfterFunc(time.Second, func() { close(held) }) // all are under way by then, or ask later
	var asking sync.WaitGroup
	for _, name := range names[1:] {
		asking.Go(func() {
			if a := w.resolve(name); a != publicAddr {
				t.Errorf("%s has %s", name, a)
				return
			}
			f, err := w.connect(web)
			if err != nil {
				t.Errorf("connect to %s: %v", name, err)
				return
			}
			defer f.Reset()
			says(t, f, hello(t, name))
		})
	}
	asking.Wait()
	goesOn(t, "the name that was asked for first", w.mustConnect(first))
}

// Without the host's resolver a question fails, and the next one after it works.
func TestDNSDown(t *testing.T) {
	w := newWorld(t, setup{policy: "public"})
	w.dns.set("site.example", publicAddr)
	down := func(is bool) {
		w.dns.mu.Lock()
		defer w.dns.mu.Unlock()
		w.dns.down = is
	}
	down(true)
	if m := w.ask("site.example", dnsmessage.TypeA); m.RCode != dnsmessage.RCodeServerFailure {
		t.Errorf("with the resolver down: %s", m.RCode)
	}
	w.recorded("dns", "name=site.example", "the host can't look it up: ask the server 127.0.0.1:53 over udp: no answer in time; ")
	w.mu.Lock()
	for _, e := range w.events {
		if !e.Failed {
			t.Errorf("%s is recorded as denied", eventText(e))
		}
	}
	w.mu.Unlock()
	down(false)
	if a := w.resolve("site.example"); a != publicAddr {
		t.Errorf("with the resolver up the name has %s", a)
	}
}

func TestPing(t *testing.T) {
	w := newWorld(t, setup{policy: "public"})
	if _, err := w.g.dialer.Ping(limited(t), publicAddr, 0, 1, nil); errors.Is(err, dial.ErrNoPing) {
		t.Skip(err)
	}
	ping := func(to netip.Addr) (*flow.Flow, error) {
		f, err := w.open(netflow.Request{Kind: netflow.Ping, Addr: netip.AddrPortFrom(to, 0)})
		if err == nil {
			mustWrite(t, f, "payload")
			f.CloseWrite()
		}
		return f, err
	}
	for _, a := range []netip.Addr{publicAddr, public6Addr} {
		f, err := ping(a)
		if err != nil {
			t.Fatalf("ping %s: %v", a, err)
		}
		if got := all(t, f); got != "payload" {
			t.Errorf("ping %s: the answer has %q", a, got)
		}
	}
	f, err := ping(goneAddr)
	if err != nil {
		t.Fatal(err)
	}
	cut(t, "nobody answers", f)
	var r *flow.RefusedError
	if _, err := ping(lanAddr); !errors.As(err, &r) || r.Code != netflow.Denied {
		t.Errorf("ping a closed address: %v", err)
	}
	w.recorded("icmp", lanAddr.String(), "private")
	w.idle()
}

// A ping that the policy allows and the kernel does not let through has failed: nobody denied it.
func TestPingThatTheKernelRefuses(t *testing.T) {
	w := newWorld(t, setup{policy: "public"})
	const groups = "/proc/sys/net/ipv4/ping_group_range"
	if err := os.WriteFile(groups, []byte("1 0"), 0); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { os.WriteFile(groups, []byte("0 0"), 0) })
	f, err := w.open(netflow.Request{Kind: netflow.Ping, Addr: netip.AddrPortFrom(publicAddr, 0)})
	if err != nil {
		t.Fatal(err)
	}
	f.CloseWrite()
	cut(t, "a ping without an answer", f)
	w.recorded("icmp", publicAddr.String(), "send no pings")
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.events[0].Failed {
		t.Errorf("%s is recorded as denied", eventText(w.events[0]))
	}
}
