package egress

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"time"

	"banger/internal/channel/flow"
	"banger/internal/channel/netflow"
	"banger/internal/network/dial"
	"banger/internal/network/policy"
)

const (
	pingLimit = 20 * time.Second
	maxPing   = 64 << 10 // bytes of data
)

// ping sends a ping for the guest.
func (g *Guest) ping(f *flow.Flow, r netflow.Request) {
	select {
	case g.pings <- struct{}{}:
		defer func() { <-g.pings }()
	default:
		g.over(f, Event{Proto: string(policy.ICMP), Reason: overPings})
		return
	}
	g.pingRate.wait(g.life)
	q := policy.Question{Addr: r.Addr.Addr(), Proto: policy.ICMP}
	var byProxy bool
	q.Names, byProxy = g.namesOf(q.Addr)
	q.Denied = g.denied.of(g.life, q.Addr)
	v := g.judged().Judge(q)
	switch {
	case !v.Allow:
		g.deny(askerOf(netflow.ICMP, r), q, v, netflow.WhoLimit)
		f.Refuse(netflow.Denied, refusalText(v))
		return
	case byProxy || v.Target == policy.ToVM:
		// On the host's network the address is somebody else's.
		f.Refuse(netflow.Unreachable, "the address stands for a name, and answers no ping")
		return
	}
	to := q.Addr
	if v.Target == policy.ToHost {
		to = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	if f.Accept() != nil {
		return
	}
	defer f.Close()
	ctx, cancel := context.WithTimeout(g.life, pingLimit)
	defer cancel()
	defer context.AfterFunc(ctx, f.Reset)()
	data, err := io.ReadAll(io.LimitReader(f, maxPing))
	if err != nil {
		return
	}
	reply, err := g.dialer.Ping(ctx, to, 0, 1, data)
	if err != nil {
		if errors.Is(err, dial.ErrNoPing) {
			g.record(Event{Addr: q.Addr.String(), Proto: string(policy.ICMP), Reason: err.Error(), Failed: true})
		}
		f.Reset()
		return
	}
	if _, err := f.Write(reply.Payload); err == nil {
		f.CloseWrite()
	}
}
