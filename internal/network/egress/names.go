package egress

import (
	"context"
	"encoding/binary"
	"io"
	"net/netip"
	"sync"
	"time"

	"banger/internal/channel/flow"
	"banger/internal/channel/netflow"
	"banger/internal/network/policy"
	"banger/internal/network/resolver"
)

// names judges names for the resolver.
type names struct{ g *Guest }

func (n names) Judge(name string, _ resolver.Type) resolver.Decision {
	j := n.g.judged()
	v := j.Judge(policy.Question{Names: []string{name}, Proto: policy.TCP})
	return resolver.Decision{Allow: v.Allow, BelowAllowed: j.Below(name), Reason: v.Reason}
}

// proxied judges names that only an upstream proxy may find.
type proxied struct{ g *Guest }

func (p proxied) Resolves(name string) resolver.Decision {
	if p.g.cfg.Proxies.For(name, 443) == nil {
		return resolver.Decision{}
	}
	v := p.g.judged().Judge(policy.Question{Names: []string{name}, Proto: policy.TCP, ByProxy: true})
	return resolver.Decision{Allow: v.Allow, Reason: v.Reason}
}

// local answers for the names of the host's loopback.
func (g *Guest) local(name string) ([]netip.Addr, bool) {
	if name != policy.HostName && name != policy.HostNameDocker {
		return nil, false
	}
	if !g.judged().Judge(policy.Question{Names: []string{name}, Proto: policy.TCP}).Allow {
		return nil, true
	}
	return []netip.Addr{gateway}, true
}

// namesOf are the names by which the guest was given an address.
func (g *Guest) namesOf(a netip.Addr) (names []string, byProxy bool) {
	if name, ok := g.synthetic.Name(a); ok {
		return []string{name}, true
	}
	return g.pins.Names(a), false
}

// dns answers the guest's questions of one flow.
func (g *Guest) dns(f *flow.Flow, r netflow.Request) {
	select {
	case g.questions <- struct{}{}:
		defer func() { <-g.questions }()
	default:
		f.Refuse(netflow.Busy, errBusy.Error())
		return
	}
	if f.Accept() != nil {
		return
	}
	defer f.Close()
	defer context.AfterFunc(g.life, f.Reset)()
	for {
		question, err := readMessage(f)
		if err != nil {
			break
		}
		answer := g.resolver.Answer(g.life, question, r.TCP)
		if answer == nil {
			break
		}
		if _, err := f.Write(resolver.Frame(answer)); err != nil {
			return
		}
	}
	f.CloseWrite()
}

// readMessage reads a message of DNS behind its length (RFC 1035, 4.2.2).
func readMessage(r io.Reader) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	message := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(r, message)
	return message, err
}

// deniedFresh is for how long the addresses of denied names are taken for known.
const deniedFresh = 30 * time.Second

// deniedNames knows the addresses of the names that are denied exactly.
type deniedNames struct {
	host *resolver.Host

	mu    sync.Mutex
	names []string
	found map[netip.Addr][]string
	since time.Time
}

func (d *deniedNames) set(names []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.names, d.found = names, nil
}

// of returns the denied names that have the address. One that can't be resolved has none.
func (d *deniedNames) of(ctx context.Context, a netip.Addr) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.names) == 0 {
		return nil
	}
	if d.found == nil || time.Since(d.since) > deniedFresh {
		d.found, d.since = map[netip.Addr][]string{}, time.Now()
		var asking sync.WaitGroup
		var mu sync.Mutex
		for _, name := range d.names {
			asking.Go(func() { // bounded by the resolver
				addrs, _, _ := d.host.Addresses(ctx, name)
				mu.Lock()
				defer mu.Unlock()
				for _, a := range addrs {
					d.found[a.Unmap()] = append(d.found[a.Unmap()], name)
				}
			})
		}
		asking.Wait()
	}
	return d.found[a]
}
