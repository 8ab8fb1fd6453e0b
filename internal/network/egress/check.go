package egress

import (
	"context"
	"net/netip"

	"golang.org/x/net/dns/dnsmessage"

	"banger/internal/network/policy"
	"banger/internal/network/resolver"
)

// Check is what would become of a connection.
type Check struct {
	Name    string         `json:"name,omitempty"`
	Addr    netip.Addr     `json:"addr,omitzero"`
	Verdict policy.Verdict `json:"verdict"`
	// Failed is why there is no connection although the policy allows one: the name has no
	// address, or the other VM takes none.
	Failed string `json:"failed,omitempty"`
	// ByProxy says that only the upstream proxy resolves the name.
	ByProxy bool `json:"by_proxy,omitempty"`
}

// Check says what would become of a connection of the guest's to a name, as a user types it, or an
// address: of a name first whether it is resolved, then each of its addresses. It connects to nothing, and pins nothing.
func (g *Guest) Check(ctx context.Context, name string, port uint16) []Check {
	j := g.judged()
	if a, err := netip.ParseAddr(name); err == nil {
		v := j.Judge(g.question(ctx, netip.AddrPortFrom(a.Unmap(), port)))
		return []Check{{Addr: a, Verdict: v}}
	}
	name = policy.Typed(name)
	first := Check{Name: name, Verdict: j.Judge(policy.Question{Names: []string{name}, Port: port, Proto: policy.TCP})}
	if first.Verdict.Allow && first.Verdict.Target == policy.ToVM {
		if err := g.cfg.VMs.Takes(ctx, first.Verdict.Name); err != nil {
			first.Failed = err.Error()
		}
	}
	if !first.Verdict.Allow || first.Verdict.Target != policy.ToAddress {
		return []Check{first}
	}
	addrs, _, err := g.cfg.Host.Addresses(ctx, name)
	if err != nil || len(addrs) == 0 {
		first.Failed = "the host finds no address of it"
		if err != nil {
			first.Failed = err.Error()
		}
		return []Check{g.unresolved(ctx, j, first, port)}
	}
	var out []Check
	for _, a := range addrs {
		q := policy.Question{Names: []string{name}, Addr: a.Unmap(), Port: port, Proto: policy.TCP, Denied: g.denied.of(ctx, a.Unmap())}
		out = append(out, Check{Name: name, Addr: a, Verdict: j.Judge(q)})
	}
	return out
}

// unresolved is the check of a name of which the host finds no address: the upstream proxy may.
func (g *Guest) unresolved(ctx context.Context, j *policy.Judge, c Check, port uint16) Check {
	if !g.hasProxy(c.Name) || resolver.OnlyHost(c.Name) {
		return c
	}
	res, err := g.cfg.Host.Lookup(ctx, c.Name, dnsmessage.TypeA)
	if err == nil && res.Code == dnsmessage.RCodeSuccess { // it exists, without an address
		return c
	}
	c.Verdict = j.Judge(policy.Question{Names: []string{c.Name}, Port: port, Proto: policy.TCP, ByProxy: true})
	c.Failed = ""
	switch {
	case !c.Verdict.Allow:
	case g.cfg.Proxies.For(c.Name, port) == nil:
		c.Failed = errNotProxied.Error()
	default:
		c.ByProxy = true
	}
	return c
}

// Flows returns how many connections the guest has.
func (g *Guest) Flows() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.live)
}
