package daemon

import (
	"cmp"
	"context"
	"net/netip"
	"slices"

	"banger/internal/api"
	"banger/internal/instance"
	"banger/internal/network/ports"
	"banger/internal/progress"
	"banger/internal/supervisor"
)

func (d *Daemon) vmPorts(ctx context.Context, r request, _ api.None) (api.Ports, error) {
	i, err := d.set.Resolve(r.ref)
	if err != nil {
		return api.Ports{}, err
	}
	s, err := i.Ports(ctx)
	if err != nil {
		return api.Ports{}, err
	}
	held, err := ports.Listening()
	if err != nil {
		return api.Ports{}, err
	}
	out := api.Ports{ID: i.ID(), Name: i.Name(), Own: s.Own, Running: i.View().HasRun, Auto: s.Auto, More: s.Ports.More}
	if out.Running {
		out.SSH = "ssh " + out.Name + ".vm"
	}
	out.Ports = showPorts(s, func(a netip.AddrPort) string {
		if h, ok := ports.HolderIn(held, a); ok {
			return h.String()
		}
		return ""
	})
	return out, nil
}

// showPorts gives each listener of the guest's the forwards to its port, and lists the
// forwards to ports on which nothing listens. holder says who listens at an address of this host.
func showPorts(s supervisor.PortsState, holder func(netip.AddrPort) string) []api.Port {
	out := []api.Port{}
	listed := map[uint16]bool{}
	held := map[uint16]string{} // a guest may list a port a thousand times
	for _, l := range s.Ports.Listening {
		listed[l.Addr.Port()] = true
		p := api.Port{Port: l.Addr.Port(), Addr: l.Addr.Addr(), Process: l.Process, PID: l.PID}
		forwarded := false
		for _, f := range s.Forwards {
			if f.Guest == p.Port {
				forwarded = true
				out = append(out, withForward(p, f))
			}
		}
		if forwarded {
			continue
		}
		by, known := held[p.Port]
		if !known {
			by = holder(netip.AddrPortFrom(s.Own, p.Port))
			held[p.Port] = by
		}
		if by != "" {
			p.Problem = "at its name " + by + " of this host answers"
		}
		out = append(out, p)
	}
	for _, f := range s.Forwards {
		if !listed[f.Guest] {
			out = append(out, withForward(api.Port{Port: f.Guest}, f))
		}
	}
	slices.SortStableFunc(out, func(a, b api.Port) int { return cmp.Compare(a.Port, b.Port) })
	return out
}

func withForward(p api.Port, f supervisor.ForwardState) api.Port {
	if p.Problem = f.Problem; p.Problem == "" {
		p.Endpoint = f.Host
		if !p.Addr.IsValid() {
			p.Problem = "nothing listens in the guest"
		}
	}
	return p
}

func (d *Daemon) forwardVM(ctx context.Context, r request, in api.Forward) (api.Ports, error) {
	i, err := d.set.Resolve(r.ref)
	if err != nil {
		return api.Ports{}, err
	}
	if err := i.Forward(ctx, instance.ForwardChange{Add: in.Add, Remove: in.Remove}, progress.Discard); err != nil {
		return api.Ports{}, err
	}
	return d.vmPorts(ctx, r, api.None{})
}
