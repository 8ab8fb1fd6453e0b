// Package egress makes the connections of one VM: it takes the flows that the guest opens,
// judges each (package policy), resolves names as the host does (package resolver), dials
// from the host's own stack (package dial), and copies. What it denies it records.
//
// It is the only way out of a VM. A supervisor has one.
package egress

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/channel/flow"
	"banger/internal/channel/netflow"
	"banger/internal/network/dial"
	"banger/internal/network/policy"
	"banger/internal/network/resolver"
)

// Limits of a VM. Beyond them a connection is refused. Questions and pings that come too fast wait,
// and those for which there is no room to wait are refused.
const (
	maxFlows = 4096
	// keptFiles are the files that a VM's connections leave to its supervisor: for 1,024 connections of
	// forwards, its log, clients and look-ups. Where it may open few, half of them.
	keptFiles = 1536
	// maxDials bounds the connections that are being made at once.
	maxDials = 512
	// dialRate and dialBurst bound how many are begun, in each second and at once; so do others.
	dialRate  = 500
	dialBurst = 2000
	// maxPings bounds the pings without an answer. A guest's root may flood with 100 a second
	// (ping(8)).
	maxPings  = 64
	pingRate  = 100
	pingBurst = 200
	// maxDNS bounds the flows of questions, and maxLookups the questions that the host's resolver
	// has at once: a router's takes 150 of all its clients (dnsmasq(8), dns-forward-max).
	maxDNS        = 512
	maxLookups    = 100
	questionRate  = 500
	questionBurst = 2000
	// noteRate and noteBurst bound the datagrams that are recorded one by one.
	noteRate  = 50
	noteBurst = 200
)

// gateway is the guest's address of the host: what host.banger.internal has.
var gateway = netip.MustParseAddr("10.0.2.2")

// Config is a VM's way out.
type Config struct {
	Policy policy.Policy
	// Routes are the host's; policy.Kernel's but for tests.
	Routes policy.Routes
	// Host resolves as the host does.
	Host *resolver.Host
	// Proxies are the host's upstream proxies; nil if it has none.
	Proxies *dial.Proxies
	// VMs are the other VMs of this host. It may be nil: there is none then.
	VMs VMs
	// Record takes what was denied, each time, but what is over a limit: that is counted. It must
	// not wait.
	Record func(Event)
	// Tell hands a Denial to the guest, and returns the process that the guest says asked for
	// it: "" if there is no answer before ctx ends. Nil tells nobody.
	Tell func(ctx context.Context, r netflow.Request) (process string)
}

// VMs are other VMs than the guest's, by their names with policy.VMSuffix.
type VMs interface {
	// Connect connects to a port of a VM's guest. Its errors are package dial's.
	Connect(ctx context.Context, name string, port uint16) (flow.Conn, error)
	// Takes returns why a VM takes no connections, nil if it does. It makes none.
	Takes(ctx context.Context, name string) error
}

type noVMs struct{}

func (noVMs) Connect(ctx context.Context, name string, _ uint16) (flow.Conn, error) {
	return nil, &dial.Error{Reason: dial.NoRoute, Err: noVMs{}.Takes(ctx, name)}
}

func (noVMs) Takes(_ context.Context, name string) error {
	return fmt.Errorf("%s: this VM reaches no other", name)
}

// Guest is one VM's way out. Its methods may be called at once. Close it.
type Guest struct {
	cfg       Config
	dialer    dial.Dialer
	pins      *resolver.Pins
	synthetic *resolver.Synthetic
	resolver  *resolver.Resolver
	denied    deniedNames

	life context.Context
	stop context.CancelFunc

	dials, pings, questions, lookups, telling  chan struct{}
	dialRate, pingRate, questionRate, noteRate bucket
	excess                                     excess
	lookLimit, dnsIdle                         time.Duration

	maxFlows int

	setting sync.Mutex // held while the policy is changed, and what was learned of denied names counts

	mu    sync.Mutex
	judge *policy.Judge
	flows int // connections, with those that are being made
	live  map[*connection]struct{}
}

// New makes the way out that c describes.
func New(c Config) *Guest {
	if c.VMs == nil {
		c.VMs = noVMs{}
	}
	g := &Guest{
		cfg: c, pins: resolver.NewPins(), synthetic: &resolver.Synthetic{},
		dials: make(chan struct{}, maxDials), pings: make(chan struct{}, maxPings),
		questions: make(chan struct{}, maxDNS), lookups: make(chan struct{}, maxLookups), telling: make(chan struct{}, maxTelling),
		dialRate: bucket{rate: dialRate, burst: dialBurst}, pingRate: bucket{rate: pingRate, burst: pingBurst},
		questionRate: bucket{rate: questionRate, burst: questionBurst}, noteRate: bucket{rate: noteRate, burst: noteBurst},
		lookLimit: lookLimit, dnsIdle: dnsIdle, maxFlows: roomForFlows(), live: map[*connection]struct{}{},
	}
	g.excess.record = g.record
	g.life, g.stop = context.WithCancel(context.Background())
	g.judge = policy.New(c.Policy, c.Routes)
	g.denied = deniedNames{host: c.Host, life: g.life, learn: g.learned, names: c.Policy.DeniedNames()}
	g.dialer = dial.Dialer{Lookup: func(ctx context.Context, name string) ([]netip.Addr, error) {
		addrs, _, err := c.Host.Addresses(ctx, name)
		return addrs, err
	}}
	g.resolver = &resolver.Resolver{
		Upstream: asking{g}, Policy: names{g}, Pins: g.pins, Synthetic: g.synthetic, Local: g.local,
		Report: g.refused,
	}
	if c.Proxies != nil {
		g.resolver.Proxy = proxied{g}
	}
	return g
}

// roomForFlows is how many connections there may be: each is a file (getrlimit(2)).
func roomForFlows() int {
	var files unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &files) != nil || files.Cur > maxFlows+keptFiles {
		return maxFlows
	}
	n := int(files.Cur)
	return n - min(keptFiles, n/2)
}

// Close resets all flows and ends what is under way.
func (g *Guest) Close() {
	g.stop()
	g.mu.Lock()
	for c := range g.live {
		c.flow.Reset()
	}
	g.mu.Unlock()
	g.excess.flush()
	g.denied.wait()
}

// Policy is what the VM may reach now.
func (g *Guest) Policy() policy.Policy {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.cfg.Policy
}

// SetPolicy changes what the VM may reach. Connections that it would not have any more
// are reset; it returns how many. It waits for the addresses of names that are denied newly, 10
// seconds at most, when all others are reset already.
func (g *Guest) SetPolicy(p policy.Policy) (ended int) {
	g.setting.Lock()
	defer g.setting.Unlock()
	return g.setPolicy(p)
}

// Recheck judges all connections anew after a change of the host's network: those to addresses
// that are closed now are reset. It returns how many.
func (g *Guest) Recheck() (ended int) {
	g.setting.Lock()
	defer g.setting.Unlock()
	return g.setPolicy(g.Policy())
}

// setPolicy is SetPolicy. The mutex setting is held.
func (g *Guest) setPolicy(p policy.Policy) (ended int) {
	j := policy.New(p, g.cfg.Routes)
	g.denied.set(p.DeniedNames())
	g.mu.Lock()
	g.cfg.Policy, g.judge = p, j
	g.mu.Unlock()
	live := g.connections()
	var ending sync.WaitGroup
	defer ending.Wait()
	for _, c := range live { // asks the kernel for routes: without the lock
		ended += g.endIfDenied(c, &ending)
	}
	return ended + g.endDenied(live)
}

// endIfDenied ends a connection that the policy denies now, and returns how many it ends: one or
// none. Who waits for ending waits until it has ended.
func (g *Guest) endIfDenied(c *connection, ending *sync.WaitGroup) int {
	v, over := g.rejudge(c)
	if !over {
		return 0
	}
	ending.Go(func() { g.end(c, v, endLimit) }) // bounded by it
	return 1
}

// connections are the live ones.
func (g *Guest) connections() []*connection {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Collect(maps.Keys(g.live))
}

// learned is called when addresses of denied names were looked up.
func (g *Guest) learned() {
	g.setting.Lock() // SetPolicy counts those that it ends
	defer g.setting.Unlock()
	g.endDenied(g.connections())
}

// endDenied ends connections that say nothing, and whose address is now one of a denied name's. It
// returns how many.
func (g *Guest) endDenied(live []*connection) (ended int) {
	var ending sync.WaitGroup
	defer ending.Wait()
	for _, c := range live {
		for !g.learnDenied(g.life, c) {
		}
		ended += g.endIfDenied(c, &ending)
	}
	return ended
}

func (g *Guest) judged() *policy.Judge {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.judge
}

// Handle answers one flow that the guest has opened.
func (g *Guest) Handle(f *flow.Flow) {
	r, err := netflow.Parse(f.Header())
	if err != nil {
		f.Refuse(netflow.Refused, err.Error())
		return
	}
	r.Addr = netip.AddrPortFrom(r.Addr.Addr().Unmap(), r.Addr.Port())
	switch r.Kind {
	case netflow.Connect:
		g.connect(f, r)
	case netflow.DNS:
		g.dns(f, r)
	case netflow.Ping:
		g.ping(f, r)
	case netflow.Note:
		g.note(r) // it is recorded when the guest has the answer
		f.Refuse(netflow.Denied, "noted")
	default:
		f.Refuse(netflow.Refused, "no such kind of flow")
	}
}

// record passes an event on.
func (g *Guest) record(e Event) {
	e.Time = time.Now().UTC()
	g.cfg.Record(e)
}

// codes are what the guest's process sees of a connection that was not made.
var codes = map[dial.Reason]byte{
	dial.Refused: netflow.Refused, dial.Reset: netflow.Refused, dial.ProxyRefused: netflow.Refused, dial.ProxyFailed: netflow.Refused,
	dial.Denied: netflow.Denied,
}

func refuse(f *flow.Flow, err error) {
	code, ok := codes[dial.ReasonOf(err)]
	if !ok {
		code = netflow.Unreachable
	}
	f.Refuse(code, err.Error())
}

// over refuses a flow that is over a limit of the VM's, and records that.
func (g *Guest) over(f *flow.Flow, e Event) {
	g.excess.add(e)
	f.Refuse(netflow.Busy, e.Reason)
}

// What is over the VM's limits, for people.
const (
	overDials     = "the VM has too many connections under way"
	overQuestions = "the VM asks for too many names"
	overPings     = "the VM sends too many pings"
	overNotes     = "the VM sends too many datagrams that are not carried"
)
