package egress

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"strings"
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

// asking asks the host's resolver for the guest, and waits for room there.
type asking struct{ g *Guest }

func (a asking) Lookup(ctx context.Context, name string, t resolver.Type) (resolver.Result, error) {
	if !a.g.enterLookup(ctx) {
		return resolver.Result{}, errLookups
	}
	defer a.g.leaveLookup()
	return a.g.cfg.Host.Lookup(ctx, name, t)
}

var errLookups = errors.New("too many names are being looked up at once")

// enterLookup waits for room for a look-up of the host's, and reports whether there is one before
// ctx ends. leaveLookup gives it back.
func (g *Guest) enterLookup(ctx context.Context) bool {
	select {
	case g.lookups <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (g *Guest) leaveLookup() { <-g.lookups }

// proxied judges names that only an upstream proxy may find.
type proxied struct{ g *Guest }

func (p proxied) Resolves(name string) resolver.Decision {
	if !p.g.hasProxy(name) {
		return resolver.Decision{}
	}
	v := p.g.judged().Judge(policy.Question{Names: []string{name}, Proto: policy.TCP, ByProxy: true})
	return resolver.Decision{Allow: v.Allow, Reason: v.Reason}
}

// hasProxy reports whether a proxy is asked for the name: by HTTP, or by others.
func (g *Guest) hasProxy(name string) bool {
	return g.cfg.Proxies.For(name, 80) != nil || g.cfg.Proxies.For(name, 443) != nil
}

// local answers for the names of the host's loopback, and for those of VMs that are allowed:
// others are denied as any name is.
func (g *Guest) local(ctx context.Context, name string) ([]netip.Addr, bool) {
	if strings.HasSuffix(name, policy.VMSuffix) {
		v := g.judged().Judge(policy.Question{Names: []string{name}, Proto: policy.TCP})
		if !v.Allow {
			return nil, false
		}
		a, ok := g.synthetic.Addr(name)
		if !ok {
			return nil, true
		}
		return []netip.Addr{a}, true
	}
	if name != policy.HostName && name != policy.HostNameDocker {
		return nil, false
	}
	if v := g.judged().Judge(policy.Question{Names: []string{name}, Proto: policy.TCP}); !v.Allow {
		g.refused(ctx, resolver.Refusal{Name: name, Denied: true, Reason: v.Reason})
		return nil, true
	}
	return []netip.Addr{gateway}, true
}

// refused records a question that is not answered: the policy denies it, or the host
// can't.
func (g *Guest) refused(ctx context.Context, r resolver.Refusal) {
	if !r.Denied {
		g.record(Event{Name: r.Name, Proto: "dns", Reason: r.Reason, Failed: true})
		return
	}
	q := policy.Question{Names: []string{r.Name}, Proto: policy.TCP}
	v := g.judged().Judge(q)
	if v.Allow && g.cfg.Proxies != nil {
		q.ByProxy = true
		v = g.judged().Judge(q)
	}
	if v.Quiet {
		return
	}
	e := Event{Name: r.Name, Proto: "dns", Reason: r.Reason}
	if v.Reason == r.Reason { // else it is a limit of the resolver's
		e.Allow = v.Hint
	}
	a, _ := ctx.Value(askerKey{}).(asker)
	g.recordDenial(a, e, netflow.WhoLimit)
}

// namesOf are the names by which the guest was given an address.
func (g *Guest) namesOf(a netip.Addr) (names []string, byProxy bool) {
	if name, ok := g.synthetic.Name(a); ok {
		return []string{name}, !strings.HasSuffix(name, policy.VMSuffix)
	}
	names = g.pins.Names(a)
	if a == gateway { // however long ago the guest looked it up
		names = append([]string{policy.HostName}, names...)
	}
	return names, false
}

// dnsIdle is for how long a flow may have no question answered: the guest's connections to
// port 53 may be left open (RFC 7766, 6.2.3).
const dnsIdle = time.Minute

// dns answers the guest's questions of one flow.
func (g *Guest) dns(f *flow.Flow, r netflow.Request) {
	select {
	case g.questions <- struct{}{}:
		defer func() { <-g.questions }()
	default:
		g.over(f, Event{Proto: "dns", Reason: overQuestions})
		return
	}
	if f.Accept() != nil {
		return
	}
	defer f.Close()
	defer context.AfterFunc(g.life, f.Reset)()
	a := askerOf(netflow.UDP, r)
	if r.TCP {
		a.proto = netflow.TCP
	}
	ctx := context.WithValue(g.life, askerKey{}, a)
	idle := time.AfterFunc(g.dnsIdle, f.Reset)
	defer idle.Stop()
	for {
		question, err := readMessage(f)
		if err != nil {
			break
		}
		g.questionRate.wait(g.life)
		answer := g.resolver.Answer(ctx, question, r.TCP)
		if answer == nil {
			break
		}
		if _, err := f.Write(resolver.Frame(answer)); err != nil {
			return
		}
		idle.Reset(g.dnsIdle)
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
