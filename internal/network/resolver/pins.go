package resolver

import (
	"container/list"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Bounds of the pins of one VM: a browser's day has some thousand addresses. An address of a CDN
// has many names, and one that is allowed may be among those that were asked for long ago.
const (
	maxPinned   = 4096
	maxPinNames = 256
	maxPins     = 1 << 16            // names of all addresses
	minPinTime  = time.Hour          // programs hold on to an address longer than its time to live
	maxPinTime  = 7 * 24 * time.Hour // RFC 8767, 4
)

// Pins remembers by which names a VM was given an address. A name that flips
// between two addresses has pinned both. It is in memory only, and bounded: 4,096
// addresses with 256 names each, 65,536 names in all. What was pinned longest ago goes first.
// Its methods may be called at once. NewPins makes one.
type Pins struct {
	now    func() time.Time
	mu     sync.Mutex
	byAddr map[netip.Addr]*list.Element
	order  *list.List // of *pin, the one pinned last in front
	total  int        // names of all
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
		p.total--
	}
	at.names = slices.Insert(at.names, 0, pinned{name, ends})
	p.total++
	if n := len(at.names); n > maxPinNames {
		at.names = slices.Delete(at.names, maxPinNames, n)
		p.total--
	}
	for p.total > maxPins && p.order.Len() > 1 {
		p.remove(p.order.Back())
	}
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
	had := len(at.names)
	at.names = slices.DeleteFunc(at.names, func(n pinned) bool { return !n.ends.After(now) })
	p.total -= had - len(at.names)
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
	at := e.Value.(*pin)
	p.total -= len(at.names)
	delete(p.byAddr, at.addr)
	p.order.Remove(e)
}
