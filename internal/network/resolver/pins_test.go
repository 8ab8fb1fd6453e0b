package resolver

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func addrOf(n int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, byte(n >> 8), byte(n)}) }

func TestPins(t *testing.T) {
	p := NewPins()
	now := time.Unix(1e9, 0)
	p.now = func() time.Time { return now }
	check := func(n int, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, p.Names(addrOf(n))); diff != "" {
			t.Errorf("Names(%v): -want +got\n%s", addrOf(n), diff)
		}
	}
	p.Add(addrOf(1), "Example.ORG.", 0)
	p.Add(addrOf(2), "example.org", 0) // it flips: both are pinned
	p.Add(addrOf(1), "cdn.example.net", 2*time.Hour)
	check(1, "cdn.example.net", "example.org")
	check(2, "example.org")
	check(3)
	if got := p.Names(netip.AddrFrom16(addrOf(1).As16())); len(got) != 2 {
		t.Errorf("Names of the address mapped to IPv6 = %q, want its two names", got)
	}
	p.Add(addrOf(1), "cdn.example.net", 0) // keeps the later end
	p.Add(addrOf(1), "example.org", 0)
	check(1, "example.org", "cdn.example.net")
	now = now.Add(time.Hour - 1)
	check(2, "example.org")
	now = now.Add(1)
	check(2)
	check(1, "cdn.example.net")
	now = now.Add(time.Hour)
	check(1)
	if len(p.byAddr) != 0 || p.order.Len() != 0 {
		t.Errorf("%d and %d addresses are left, want none", len(p.byAddr), p.order.Len())
	}
}

func TestPinsAreBounded(t *testing.T) {
	p := NewPins()
	for i := range maxPinned {
		p.Add(addrOf(i), "example.org", 0)
	}
	p.Add(addrOf(0), "again.example.org", 0)
	p.Add(addrOf(maxPinned), "example.org", 0)
	if len(p.byAddr) != maxPinned || p.order.Len() != maxPinned {
		t.Errorf("%d addresses, want %d", len(p.byAddr), maxPinned)
	}
	if p.Names(addrOf(1)) != nil || len(p.Names(addrOf(0))) != 2 || p.Names(addrOf(2)) == nil {
		t.Error("the address that was pinned longest ago goes, and no other")
	}
	for i := range maxPinNames + 3 {
		p.Add(addrOf(0), fmt.Sprintf("n%d.example.org", i), 0)
	}
	got := p.Names(addrOf(0))
	if newest := fmt.Sprintf("n%d.example.org", maxPinNames+2); len(got) != maxPinNames || got[0] != newest || got[maxPinNames-1] != "n3.example.org" {
		t.Errorf("Names = %q, want the last %d", got, maxPinNames)
	}
}

// The names of all addresses are bounded: those of the address pinned longest ago go.
func TestPinsOfAll(t *testing.T) {
	p := NewPins()
	const addrs = maxPins/maxPinNames + 10
	for i := range addrs {
		for n := range maxPinNames {
			p.Add(addrOf(i), fmt.Sprintf("n%d.example.org", n), 0)
		}
	}
	total := 0
	for i := range addrs {
		n := len(p.Names(addrOf(i)))
		if want := map[bool]int{true: maxPinNames}[i >= 10]; n != want {
			t.Errorf("address %d has %d names, want %d", i, n, want)
		}
		total += n
	}
	if total > maxPins || total != p.total {
		t.Errorf("there are %d names, counted %d, want %d at most", total, p.total, maxPins)
	}
}

func TestPinsAtOnce(t *testing.T) {
	p := NewPins()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 1000 {
				p.Add(addrOf(n*7+i), "example.org", 0)
				p.Names(addrOf(n))
			}
		})
	}
	wg.Wait()
	if len(p.byAddr) != p.order.Len() || len(p.byAddr) > maxPinned {
		t.Errorf("%d addresses in the table, %d in the order", len(p.byAddr), p.order.Len())
	}
}

func TestSynthetic(t *testing.T) {
	var s, other Synthetic
	first, ok := s.Addr("Example.org.")
	if !ok || !SyntheticPrefix.Contains(first) {
		t.Fatalf("Addr = %v, %v, want one of %v", first, ok, SyntheticPrefix)
	}
	seen := map[netip.Addr]bool{first: true}
	for i := range maxSynthetic - 1 {
		a, ok := s.Addr(fmt.Sprintf("n%d.example.org", i))
		if !ok || seen[a] || !SyntheticPrefix.Contains(a) {
			t.Fatalf("Addr of name %d = %v, %v, want a new one", i, a, ok)
		}
		seen[a] = true
	}
	if a, ok := s.Addr("more.example.org"); ok {
		t.Errorf("Addr of one name more = %v, want none", a)
	}
	if again, ok := s.Addr("example.ORG"); !ok || again != first {
		t.Errorf("Addr again = %v, want %v", again, first)
	}
	if name, ok := s.Name(first); !ok || name != "example.org" {
		t.Errorf("Name = %q, want example.org", name)
	}
	if _, ok := s.Name(addrOf(1)); ok {
		t.Error("Name of another address is known")
	}
	if a, _ := other.Addr("example.org"); a != first {
		t.Errorf("Addr in another life = %v, want %v", a, first)
	}
}

func TestOnlyHost(t *testing.T) {
	for name, want := range map[string]bool{
		"printer": true, "printer.": true, "a.local": true, "A.LOCAL.": true, "local.example.org": false,
		"x.internal": true, "a.b.localhost": true, "router.lan": true, "1.home.arpa": true, "example.org": false,
		"notinternal": true, "a.notinternal": false, "": true,
	} {
		if got := OnlyHost(name); got != want {
			t.Errorf("OnlyHost(%q) = %v, want %v", name, got, want)
		}
	}
}
