package egress

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"banger/internal/channel/flow"
	"banger/internal/channel/netflow"
	"banger/internal/network/dial"
	"banger/internal/network/policy"
)

// connection is one that the guest has.
type connection struct {
	flow     *flow.Flow
	question policy.Question

	mu      sync.Mutex
	verdict policy.Verdict
	said    *policy.Said // its first bytes, when they were judged
}

// judge is what j says of the connection as it is.
func (c *connection) judge(j *policy.Judge) policy.Verdict {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := j.Judge(c.question)
	if v.Allow && v.Look && c.said != nil {
		v = j.Heard(c.question, v, *c.said)
	}
	return v
}

// connect makes a connection that the guest asks for.
func (g *Guest) connect(f *flow.Flow, r netflow.Request) {
	if g.Flows() >= maxFlows || !g.rate.take(time.Now()) {
		g.busy(f, r)
		return
	}
	select {
	case g.dials <- struct{}{}:
	default:
		g.busy(f, r)
		return
	}
	ctx, cancel := context.WithCancel(g.life)
	defer cancel()
	gone := make(chan struct{})
	go func() { // ends with ctx
		defer close(gone)
		if f.Done(ctx) == nil { // the guest has given up
			cancel()
		}
	}()
	q, v := g.judgeAddress(ctx, r.Addr)
	if !v.Allow {
		<-g.dials
		g.denyLater(r.From, q, v)
		f.Refuse(netflow.Denied, refusalText(v))
		return
	}
	conn, err := g.dial(ctx, q, v)
	<-g.dials
	if err != nil {
		if dial.ReasonOf(err) == dial.Denied {
			g.record(Event{Name: v.Name, Addr: q.Addr.String(), Port: q.Port, Proto: string(q.Proto), Reason: err.Error(), Process: r.Process})
		}
		refuse(f, err)
		return
	}
	cancel()
	<-gone
	if f.Accept() != nil {
		conn.Close()
		return
	}
	c := &connection{flow: f, question: q, verdict: v}
	g.mu.Lock()
	if g.life.Err() != nil {
		g.mu.Unlock()
		f.Reset()
		conn.Close()
		return
	}
	g.live[c] = struct{}{}
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		delete(g.live, c)
		g.mu.Unlock()
	}()
	var joined flow.Conn = conn
	if v.Look {
		joined = g.look(c, conn)
	}
	flow.Join(f, joined)
}

// judgeAddress judges a connection to an address by all that is known of it.
func (g *Guest) judgeAddress(ctx context.Context, to netip.AddrPort) (policy.Question, policy.Verdict) {
	q := policy.Question{Addr: to.Addr(), Port: to.Port(), Proto: policy.TCP}
	q.Names, q.ByProxy = g.namesOf(to.Addr())
	if q.ByProxy {
		q.Addr = netip.Addr{} // it stands for the name
	} else {
		q.Denied = g.denied.of(ctx, to.Addr())
	}
	return q, g.judged().Judge(q)
}

// dial makes a connection that is allowed.
func (g *Guest) dial(ctx context.Context, q policy.Question, v policy.Verdict) (dial.Conn, error) {
	switch v.Target {
	case policy.ToHost:
		loopback := []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
		return g.dialer.Name(ctx, policy.HostName, q.Port, loopback)
	case policy.ToVM:
		return nil, &dial.Error{Reason: dial.NoRoute, Err: fmt.Errorf("VM %q: connections between VMs are not carried", v.Name)}
	}
	if g.cfg.Proxies != nil && len(q.Names) > 0 {
		name := q.Names[0] // the one pinned last
		if v.Name != "" {
			name = v.Name
		}
		if p := g.cfg.Proxies.For(name, q.Port); p != nil {
			return g.dialer.Through(ctx, p, name, q.Port)
		}
	}
	if !q.Addr.IsValid() {
		return nil, &dial.Error{Reason: dial.NoRoute, Err: errors.New("only the upstream proxy resolves the name, and it is not used for it")}
	}
	return g.dialer.Address(ctx, netip.AddrPortFrom(q.Addr, q.Port))
}

func (g *Guest) busy(f *flow.Flow, r netflow.Request) {
	g.record(Event{Addr: r.Addr.Addr().String(), Port: r.Addr.Port(), Proto: "tcp", Reason: errBusy.Error(), Process: r.Process})
	f.Refuse(netflow.Busy, errBusy.Error())
}

// refusalText is what the guest is told of a denial.
func refusalText(v policy.Verdict) string {
	text := v.Reason
	if v.Name != "" {
		text = v.Name + ": " + text
	}
	if v.Hint != "" {
		text += " (" + v.Hint + ")"
	}
	return text
}

// note records a packet that went nowhere, and who asked for a connection that was
// denied.
func (g *Guest) note(r netflow.Request) {
	if r.Proto == string(policy.TCP) {
		if d := g.waiting.take(r.From); d != nil {
			d(r.Process)
		}
		return
	}
	q := policy.Question{Addr: r.Addr.Addr(), Port: r.Addr.Port(), Proto: policy.UDP}
	q.Names, _ = g.namesOf(q.Addr)
	if q.Port == 443 { // QUIC: whoever speaks it goes on by TCP
		return
	}
	v := g.judged().Judge(q)
	if v.Allow {
		v.Reason = "UDP is not carried, but for DNS"
	}
	v.Hint = ""
	g.deny(q, v, r.Process)
}
