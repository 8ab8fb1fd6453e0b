package egress

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"banger/internal/channel/flow"
	"banger/internal/channel/netflow"
	"banger/internal/network/dial"
	"banger/internal/network/policy"
	"banger/internal/network/resolver"
)

// connection is one that the guest has.
type connection struct {
	asker asker
	flow  *flow.Flow

	mu       sync.Mutex
	question policy.Question
	verdict  policy.Verdict // before its first bytes
	by       *policy.Judge  // whose verdict it is
	said     *policy.Said   // its first bytes, once they are whole
	over     bool           // it was denied
	first    *looking       // what reads its first bytes, if something does
}

// judge is what j says of the connection as it is. The mutex is held.
func (c *connection) judge(j *policy.Judge) policy.Verdict {
	if c.by != j {
		c.verdict, c.by = j.Judge(c.question), j
	}
	if c.verdict.Allow && c.verdict.Look && c.said != nil {
		return j.Heard(c.question, c.verdict, *c.said)
	}
	return c.verdict
}

// rejudge reports whether the connection is over because the policy denies it now, and was not
// before: the caller ends it. Which policy it is, is asked under the connection's mutex: the last one
// counts, whoever comes last.
func (g *Guest) rejudge(c *connection) (v policy.Verdict, over bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return v, false
	}
	v = c.judge(g.judged())
	c.over = !v.Allow
	return v, c.over
}

func (c *connection) isOver() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.over
}

// asked is what the policy is asked about the connection.
func (c *connection) asked() policy.Question {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.question
}

// end resets a connection that is over, and denied by v.
func (g *Guest) end(c *connection, v policy.Verdict, limit time.Duration) {
	g.deny(c.asker, c.asked(), v, limit)
	c.flow.Refuse(netflow.Denied, refusalText(v)) // if the guest has no answer yet
	c.flow.Reset()
}

// connect makes a connection that the guest asks for.
func (g *Guest) connect(f *flow.Flow, r netflow.Request) {
	if !g.enter() {
		g.busy(f, r)
		return
	}
	defer g.leave()
	c, conn := g.open(f, r)
	if c == nil {
		return
	}
	defer g.forget(c)
	if f.Accept() != nil {
		conn.Close()
		return
	}
	flow.Join(f, g.look(c, conn))
}

// open judges and dials what the guest asks for; it returns nil if there is no connection,
// and has refused the flow then. One that is there is among the live ones.
func (g *Guest) open(f *flow.Flow, r netflow.Request) (*connection, flow.Conn) {
	select {
	case g.dials <- struct{}{}:
		defer func() { <-g.dials }()
	default:
		g.busy(f, r)
		return nil, nil
	}
	if !g.dialRate.take(time.Now()) {
		g.busy(f, r)
		return nil, nil
	}
	ctx, cancel := context.WithCancel(g.life)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	watching.Go(func() { // ends with ctx
		if f.Done(ctx) == nil { // the guest has given up
			cancel()
		}
	})
	c := &connection{flow: f, asker: askerOf(netflow.TCP, r), by: g.judged(), question: g.question(ctx, r.Addr)}
	c.verdict = c.by.Judge(c.question)
	if !c.verdict.Allow {
		g.refuse(c, c.verdict)
		return nil, nil
	}
	conn, err := g.dial(ctx, c)
	if err != nil {
		switch dial.ReasonOf(err) {
		case dial.Denied:
			g.deny(c.asker, c.question, policy.Verdict{Name: c.verdict.Name, Reason: err.Error()}, netflow.WhoLimit)
		case dial.ProxyRefused, dial.ProxyFailed:
			g.fail(c.question, c.verdict.Name, err)
		}
		refuse(f, err)
		return nil, nil
	}
	if !g.keep(ctx, c) {
		conn.Close()
		return nil, nil
	}
	return c, conn
}

// keep makes c one of the live connections, but not if the policy has changed while it was
// dialled, and denies it now.
func (g *Guest) keep(ctx context.Context, c *connection) bool {
	g.mu.Lock()
	if g.life.Err() != nil {
		g.mu.Unlock()
		c.flow.Refuse(netflow.Unreachable, "the VM's network has ended")
		return false
	}
	g.live[c] = struct{}{}
	g.mu.Unlock()
	for !g.learnDenied(ctx, c) {
	}
	if v, denies := g.rejudge(c); denies {
		g.refuse(c, v)
	}
	over := c.isOver()
	if over {
		g.forget(c)
	}
	return !over
}

// learnDenied asks which denied names have the connection's address. It reports false if the policy
// has changed meanwhile.
func (g *Guest) learnDenied(ctx context.Context, c *connection) bool {
	j := g.judged()
	addr := c.asked().Addr
	if !addr.IsValid() {
		return true
	}
	denied := g.denied.of(ctx, addr)
	c.mu.Lock()
	defer c.mu.Unlock()
	if g.judged() != j {
		return false
	}
	c.question.Denied = denied
	return true
}

func (g *Guest) forget(c *connection) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.live, c)
}

// enter takes one of the VM's connections, if there is one left; leave gives it back.
func (g *Guest) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.flows >= g.maxFlows {
		return false
	}
	g.flows++
	return true
}

func (g *Guest) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.flows--
}

// question is about a connection to an address, with all that is known of it.
func (g *Guest) question(ctx context.Context, to netip.AddrPort) policy.Question {
	q := policy.Question{Addr: to.Addr(), Port: to.Port(), Proto: policy.TCP}
	q.Names, q.ByProxy = g.namesOf(to.Addr())
	if q.ByProxy {
		q.Addr = netip.Addr{} // it stands for the name
	} else {
		q.Denied = g.denied.of(ctx, to.Addr())
	}
	return q
}

// dial makes a connection that is allowed, and not yet one of the live ones.
func (g *Guest) dial(ctx context.Context, c *connection) (flow.Conn, error) {
	q, v := c.question, c.verdict
	switch v.Target {
	case policy.ToHost:
		loopback := []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
		return g.dialer.Name(ctx, policy.HostName, q.Port, loopback)
	case policy.ToVM:
		return g.cfg.VMs.Connect(ctx, v.Name, q.Port)
	}
	if len(q.Names) > 0 {
		name := q.Names[0] // the one pinned last
		if v.Name != "" {
			name = v.Name
		}
		if p := g.proxy(ctx, q, name); p != nil {
			return g.dialer.Through(ctx, p, name, q.Port, &dial.Web{
				May:    func(ctx context.Context, host string) error { return g.ask(ctx, c, host) },
				Failed: func(err error) { g.fail(q, name, err) },
			})
		}
	}
	if !q.Addr.IsValid() {
		return nil, &dial.Error{Reason: dial.NoRoute, Err: errNotProxied}
	}
	return g.dialer.Address(ctx, netip.AddrPortFrom(q.Addr, q.Port))
}

// ask judges a request that the upstream proxy gets for host: it looks host up once more, and
// reaches what it may.
func (g *Guest) ask(ctx context.Context, c *connection, host string) error {
	q := c.asked()
	q.Names = []string{host}
	v := g.judged().Judge(q)
	if v.Allow && v.Target != policy.ToAddress {
		v = policy.Verdict{Name: host, Reason: "it is not a name that a proxy is asked for"}
	}
	if !v.Allow {
		g.deny(c.asker, q, v, netflow.WhoLimit)
		return errDenied
	}
	if g.proxy(ctx, q, host) == nil {
		err := errors.New("the upstream proxy is not asked for it: it has a closed address, or goes without a proxy")
		g.fail(q, host, err)
		return err
	}
	return nil
}

// fail records what is allowed and could not be done.
func (g *Guest) fail(q policy.Question, name string, err error) {
	e := eventOf(q, policy.Verdict{Name: name, Reason: err.Error()})
	e.Failed = true
	g.record(e)
}

var errNotProxied = errors.New("only the upstream proxy resolves the name, and it is not used for it on this port")

// lookupLimit bounds the look-up of a name before a proxy is asked for it.
const lookupLimit = 3 * time.Second

// proxy is the upstream proxy that is asked for a name; nil if none is. A name with a closed
// address is never left to one, though another of its addresses is public: it may take any.
func (g *Guest) proxy(ctx context.Context, q policy.Question, name string) *dial.Proxy {
	p := g.cfg.Proxies.For(name, q.Port)
	if p == nil || resolver.OnlyHost(name) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupLimit)
	defer cancel()
	if !g.enterLookup(ctx) {
		return nil
	}
	addrs, _, err := g.cfg.Host.Addresses(ctx, name)
	g.leaveLookup()
	if err != nil || len(addrs) == 0 {
		alone := policy.Question{Names: []string{name}, Port: q.Port, Proto: q.Proto, ByProxy: true}
		if !g.judged().Judge(alone).Allow {
			return nil
		}
	}
	if q.Addr.IsValid() {
		addrs = append(addrs, q.Addr)
	}
	for _, a := range addrs {
		if _, closed := policy.Closed(g.cfg.Routes, a); closed {
			return nil
		}
	}
	return p
}

func (g *Guest) busy(f *flow.Flow, r netflow.Request) {
	g.over(f, Event{Addr: r.Addr.Addr().String(), Port: r.Addr.Port(), Proto: string(policy.TCP), Reason: overDials})
}

// refuse refuses a connection that is denied before it is there.
func (g *Guest) refuse(c *connection, v policy.Verdict) {
	g.deny(c.asker, c.asked(), v, netflow.WhoLimit)
	c.flow.Refuse(netflow.Denied, refusalText(v))
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

// note records a datagram that goes nowhere.
func (g *Guest) note(r netflow.Request) {
	if !g.noteRate.take(time.Now()) {
		g.excess.add(Event{Proto: string(policy.UDP), Reason: overNotes})
		return
	}
	q := policy.Question{Addr: r.Addr.Addr(), Port: r.Addr.Port(), Proto: policy.UDP}
	q.Names, _ = g.namesOf(q.Addr)
	if q.Port == 443 { // QUIC: whoever speaks it goes on by TCP
		return
	}
	v := g.judged().Judge(q)
	if v.Allow {
		v.Reason = "UDP is not carried, but for DNS and the time"
	}
	v.Hint = ""
	g.deny(askerOf(netflow.UDP, r), q, v, netflow.WhoLimit)
}
