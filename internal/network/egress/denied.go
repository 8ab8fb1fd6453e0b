package egress

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"banger/internal/network/resolver"
)

const (
	// deniedFresh is for how long the addresses of denied names are taken for known.
	deniedFresh = 30 * time.Second
	// deniedLimit bounds a look-up of all of them, and deniedAtOnce how many are asked for at once.
	deniedLimit  = 10 * time.Second
	deniedAtOnce = 32
)

// deniedNames knows the addresses of the names that are denied exactly.
type deniedNames struct {
	host  *resolver.Host
	life  context.Context
	learn func() // is called when addresses were looked up

	running sync.WaitGroup

	mu    sync.Mutex
	names []string
	last  *found // of names as they are; nil before it is asked for
	old   *found // the last that is whole
}

// found are addresses of denied names. They are there when done is closed.
type found struct {
	done   chan struct{}
	byName map[string][]netip.Addr
	byAddr map[netip.Addr][]string
	ends   time.Time
}

// set changes the names, or says that the host's network is another.
func (d *deniedNames) set(names []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.last != nil && d.last.isDone() {
		d.old = d.last
	}
	d.names, d.last = names, nil
}

// of returns the denied names that have the address, as they were when all of them were looked up
// last. Only if they were not yet, it waits for them until ctx ends, not longer than deniedLimit: who
// has a denied name may have a server that is silent.
func (d *deniedNames) of(ctx context.Context, a netip.Addr) []string {
	d.mu.Lock()
	f := d.last
	switch {
	case len(d.names) == 0, d.life.Err() != nil:
		d.mu.Unlock()
		return nil
	case f == nil || f.isDone() && time.Now().After(f.ends):
		if f != nil {
			d.old = f
		}
		old := d.old
		f = &found{done: make(chan struct{}), byName: map[string][]netip.Addr{}, byAddr: map[netip.Addr][]string{}}
		d.last = f
		// Not bounded by ctx: a guest that gives up must not leave the others without.
		names, next := d.names, f
		d.running.Go(func() { // ends within deniedLimit
			d.find(next, old, names)
			d.mu.Lock()
			counts := d.last == next
			d.mu.Unlock()
			if counts {
				d.learn()
			}
		})
	}
	if !f.isDone() && d.old.has(d.names) {
		f = d.old
	}
	d.mu.Unlock()
	select {
	case <-f.done:
		return f.byAddr[a.Unmap()]
	case <-ctx.Done():
		return nil
	}
}

// has reports whether all of these names were looked up.
func (f *found) has(names []string) bool {
	return f != nil && !slices.ContainsFunc(names, func(n string) bool { _, ok := f.byName[n]; return !ok })
}

// wait waits for look-ups after the end of life.
func (d *deniedNames) wait() {
	d.set(nil) // who comes later begins none
	d.running.Wait()
}

func (f *found) isDone() bool {
	select {
	case <-f.done:
		return true
	default:
		return false
	}
}

// find looks names up. A name that can't be looked up now keeps the addresses that it had.
func (d *deniedNames) find(f, old *found, names []string) {
	defer close(f.done)
	ctx, cancel := context.WithTimeout(d.life, deniedLimit)
	defer cancel()
	var asking sync.WaitGroup
	var mu sync.Mutex
	room := make(chan struct{}, deniedAtOnce)
	for _, name := range names {
		room <- struct{}{}
		asking.Go(func() { // ends with its look-up
			defer func() { <-room }()
			addrs, _, err := d.host.Addresses(ctx, name)
			if err != nil && old != nil {
				addrs = old.byName[name]
			}
			mu.Lock()
			defer mu.Unlock()
			f.byName[name] = addrs
			for _, a := range addrs {
				f.byAddr[a.Unmap()] = append(f.byAddr[a.Unmap()], name)
			}
		})
	}
	asking.Wait()
	f.ends = time.Now().Add(deniedFresh)
}
