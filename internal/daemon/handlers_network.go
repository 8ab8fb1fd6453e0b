package daemon

import (
	"context"
	"fmt"
	"io"
	"math"

	"banger/internal/api"
	"banger/internal/instance"
	"banger/internal/network/policy"
	"banger/internal/vm"
)

func (d *Daemon) networkLog(ctx context.Context, r request, in api.NetworkLog, w io.Writer) error {
	i, err := d.set.Resolve(r.ref)
	if err != nil {
		return err
	}
	return i.NetworkLog(ctx, w, in.Follow)
}

func (d *Daemon) showNetwork(ctx context.Context, r request, in api.NetworkQuery) (api.Network, error) {
	i, err := d.set.Resolve(r.ref)
	if err != nil {
		return api.Network{}, err
	}
	if in.Port < 0 || in.Port > math.MaxUint16 {
		return api.Network{}, &vm.FieldError{Field: "port", Err: fmt.Errorf("%d is no port", in.Port)}
	}
	n, err := i.Network(ctx, in.Name, uint16(in.Port))
	if err != nil {
		return api.Network{}, err
	}
	out := api.Network{Mode: instance.Mode(n), Rules: []api.NetworkRule{}, Running: i.View().HasRun, Flows: n.Flows}
	if n.Policy != nil {
		out.Notes = n.Notes
		out.Egress = string(n.Policy.Profile)
		if n.Policy.Profile != policy.DenyAll {
			out.Unknown = n.Unknown
		}
		for _, rule := range n.Policy.Rules {
			out.Rules = append(out.Rules, api.NetworkRule{Rule: rule.String(), Origin: rule.Origin.String()})
		}
	}
	for _, c := range n.Check {
		row := api.NetworkCheck{Name: c.Name, Allow: c.Verdict.Allow, Reason: c.Verdict.Reason, Hint: c.Verdict.Hint}
		if c.Addr.IsValid() {
			row.Addr = c.Addr.String()
		}
		if c.Verdict.Rule != nil {
			row.Rule = fmt.Sprintf("%s (%s)", c.Verdict.Rule, c.Verdict.Rule.Origin)
		}
		if c.ByProxy {
			row.Reason = "this machine finds no address of it: the upstream proxy resolves it"
		}
		if c.Failed != "" {
			row.Allow, row.Reason = false, c.Failed
		}
		out.Check = append(out.Check, row)
	}
	return out, nil
}
