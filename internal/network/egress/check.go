package egress

import (
	"context"
	"net/netip"

	"banger/internal/network/policy"
)

// Check is what would become of a connection.
type Check struct {
	Name    string         `json:"name,omitempty"`
	Addr    netip.Addr     `json:"addr,omitzero"`
	Verdict policy.Verdict `json:"verdict"`
	// Failed is why the name could not be resolved.
	Failed string `json:"failed,omitempty"`
}

// Check says what would become of a connection of the guest's to a name or an address: of a
// name first whether it is resolved, then each of its addresses. It connects to nothing, and pins nothing.
func (g *Guest) Check(ctx context.Context, name string, port uint16) []Check {
	j := g.judged()
	if a, err := netip.ParseAddr(name); err == nil {
		v := j.Judge(g.question(ctx, netip.AddrPortFrom(a.Unmap(), port)))
		return []Check{{Addr: a, Verdict: v}}
	}
	first := Check{Name: name, Verdict: j.Judge(policy.Question{Names: []string{name}, Port: port, Proto: policy.TCP})}
	if !first.Verdict.Allow || first.Verdict.Target != policy.ToAddress {
		return []Check{first}
	}
	addrs, _, err := g.cfg.Host.Addresses(ctx, name)
	if err != nil || len(addrs) == 0 {
		first.Failed = "the host finds no address of it"
		if err != nil {
			first.Failed = err.Error()
		}
		return []Check{first}
	}
	var out []Check
	for _, a := range addrs {
		q := policy.Question{Names: []string{name}, Addr: a.Unmap(), Port: port, Proto: policy.TCP, Denied: g.denied.of(ctx, a.Unmap())}
		out = append(out, Check{Name: name, Addr: a, Verdict: j.Judge(q)})
	}
	return out
}

// Flows returns how many connections the guest has.
func (g *Guest) Flows() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.live)
}
