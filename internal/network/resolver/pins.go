package resolver

import (
	"container/list"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Bounds of the pins of one VM: a browser's day has some thousand addresses.
const (
	maxPinned   = 4096
	maxPinNames = 16
	minPinTime  = time.Hour          // programs hold on to an address longer than its time to live
	maxPinTime  = 7 * 24 * time.Hour // RFC 8767, 4
)

// Pins remembers by which names a VM was given an address. A name that flips
// between two addresses has pinned both. It is in memory only, and bounded: 4,096
// addresses with 16 names each, of which the one pinned longest ago goes first.
// Its methods may be called at once. NewPins makes one.
type Pins struct {
	now    func() time.Time
	mu     sync.Mutex
	byAddr map[netip.Addr]*list.Element
	order  *list.List // of *pin, the one pinned last in front
}

type pin struct {
	addr  netip.Addr
	names []pinned // the one pinned last in front
}

type pinned struct {
	name string
	ends time.Time
}

// NewPins returns pins of nothing.
func NewPins() *Pins {
	return &Pins{now: time.Now, byAddr: map[netip.Addr]*list.Element{}, order: list.New()}
}

// Add pins addr to name for ttl, and an hour at least. A name that is pinned there
// already is moved to the front, and keeps the later end.
func (p *Pins) Add(addr netip.Addr, name string, ttl time.Duration) {
	addr, name = addr.Unmap(), Clean(name)
	p.mu.Lock()
	defer p.mu.Unlock()
	ends := p.now().Add(min(max(ttl, minPinTime), maxPinTime))
	e := p.byAddr[addr]
	if e == nil {
		if p.order.Len() >= maxPinned {
			p.remove(p.order.Back())
		}
		e = p.order.PushFront(&pin{addr: addr})
		p.byAddr[addr] = e
	}
	p.order.MoveToFront(e)
	at := e.Value.(*pin)
	if i := slices.IndexFunc(at.names, func(n pinned) bool { return n.name == name }); i >= 0 {
		if at.names[i].ends.After(ends) {
			ends = at.names[i].ends
		}
		at.names = slices.Delete(at.names, i, i+1)
	}
	at.names = slices.Insert(at.names, 0, pinned{name, ends})
	at.names = at.names[:min(len(at.names), maxPinNames)]
}

// Names returns the names that addr is pinned to, the one pinned last first, or
// nil. The slice is the caller's.
func (p *Pins) Names(addr netip.Addr) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.byAddr[addr.Unmap()]
	if e == nil {
		return nil
	}
	at := e.Value.(*pin)
	now := p.now()
	at.names = slices.DeleteFunc(at.names, func(n pinned) bool { return !n.ends.After(now) })
	if len(at.names) == 0 {
		p.remove(e)
		return nil
	}
	var names []string
	for _, n := range at.names {
		names = append(names, n.name)
	}
	return names
}

// remove forgets an address. p.mu is held.
func (p *Pins) remove(e *list.Element) {
	delete(p.byAddr, e.Value.(*pin).addr)
	p.order.Remove(e)
}
