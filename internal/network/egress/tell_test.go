package egress

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"banger/internal/channel/flow"
	"banger/internal/channel/netflow"
)

// A connection that is denied is recorded when the guest has said which process asked, and when
// it does not say or the run ends before that; then it has its answer.
func TestTell(t *testing.T) {
	w := newWorld(t, setup{policy: "deny"})
	w.slow = 50 * time.Millisecond
	deny := func(from string) {
		t.Helper()
		_, err := w.open(netflow.Request{Kind: netflow.Connect, Addr: netip.MustParseAddrPort("93.184.216.34:80"), From: netip.MustParseAddrPort(from)})
		if refusal(err) != netflow.Denied {
			t.Errorf("connect: %v", err)
		}
	}
	deny("10.0.2.15:40000")
	if got := w.count(); got != 1 {
		t.Errorf("when the guest has the answer, %d denials are recorded, want 1", got)
	}
	w.recorded("tcp 93.184.216.34", "[tcp:40000]")
	deny("10.0.2.15:1")
	w.recorded("tcp 93.184.216.34", "[]")
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.denials); n != 2 {
		t.Fatalf("the guest was told %d times, want 2", n)
	}
	if got, want := w.denials[0].Text, "tcp 93.184.216.34:80: "; !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "; --allow 93.184.216.34 allows it") {
		t.Errorf("the guest was told %q, want %q… and the line to type", got, want)
	}
}

// A guest that never says who asked has its answers all the same, and those over the limit at
// once; and one whose run ends.
func TestTellNobodyAnswers(t *testing.T) {
	w := newWorld(t, setup{policy: "deny"})
	var asking sync.WaitGroup
	for range 2 * maxTelling {
		asking.Go(func() {
			_, err := w.guest.Open(limited(t), netflow.Request{Kind: netflow.Connect, Addr: netip.MustParseAddrPort("93.184.216.34:80"),
				From: netip.MustParseAddrPort("10.0.2.15:1")}.Marshal())
			if code := refusal(err); code != netflow.Denied {
				t.Errorf("connect: %v", err)
			}
		})
	}
	asking.Wait()
	if got := w.count(); got != 2*maxTelling {
		t.Errorf("%d denials are recorded, want %d", got, 2*maxTelling)
	}
	done := make(chan struct{})
	go func() { // ends with the flow
		defer close(done)
		w.guest.Open(limited(t), netflow.Request{Kind: netflow.Connect, Addr: netip.MustParseAddrPort("93.184.216.34:80"), From: netip.MustParseAddrPort("10.0.2.15:1")}.Marshal())
	}()
	w.until("the guest is asked", func() bool { return len(w.g.telling) == 1 })
	w.g.Close()
	<-done
	if got := w.count(); got != 2*maxTelling+1 {
		t.Errorf("at the end %d denials are recorded, want %d", got, 2*maxTelling+1)
	}
}

// A name that is denied, and a connection whose first bytes or a change deny it, are told too.
func TestTellOfEach(t *testing.T) {
	w := newWorld(t, setup{policy: "deny --allow allowed.example:80"})
	told := func(parts ...string) {
		t.Helper()
		w.until(fmt.Sprintf("the guest is told %q", parts), func() bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			return slices.ContainsFunc(w.denials, func(r netflow.Request) bool {
				return !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(string(r.Marshal())+r.Text, p) })
			})
		})
	}
	w.resolve("denied.example")
	told(`"proto":"udp"`, "10.0.2.15:40001", "dns denied.example: ", "; --allow denied.example allows it")
	w.recorded("dns", "denied.example", "[udp:40001]")
	_, err := w.open(netflow.Request{Kind: netflow.Ping, From: netip.MustParseAddrPort("10.0.2.15:77"), Addr: netip.MustParseAddrPort("93.184.216.34:0")})
	if refusal(err) != netflow.Denied {
		t.Errorf("ping: %v", err)
	}
	told(`"proto":"icmp"`, "icmp 93.184.216.34: ")
	w.recorded("icmp", "[icmp:77]")
}

// Addresses of a guest that speaks the channel itself may have zones of any length: what it is
// told of a denial fits in a flow's header all the same.
func TestTellZones(t *testing.T) {
	w := newWorld(t, setup{policy: "deny"})
	from := netip.AddrPortFrom(netip.MustParseAddr("fe80::1%"+strings.Repeat("<", 800)), 7)
	to := netip.AddrPortFrom(netip.MustParseAddr("fe80::2%"+strings.Repeat("x", 60)), 443)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	header := []byte(fmt.Sprintf(`{"kind":"connect","from":%q,"addr":%q}`, from, to))
	_, err := w.guest.Open(ctx, header)
	if refusal(err) != netflow.Denied {
		t.Errorf("connect: %v", err)
	}
	w.recorded("tcp", "has a zone", "[tcp:7]")
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.denials {
		if n := len(r.Marshal()); n > flow.MaxHeader {
			t.Errorf("the guest is told %d bytes", n)
		}
	}
}
