// Package network is the guest's half of its network.
//
// The guest has no network card. The agent owns a network namespace beside the guest's, the inner one, and
// joins the two with a veth pair whose outer end is eth0. In the inner one every
// connection waits, as a SYN in a queue, until the host has made it or refused it; then it
// comes to a listener of the agent's by TPROXY, and its bytes go over the VM's channel
// as a flow (package channel/flow). Questions to port 53 of any address, and pings, go the same way.
// NTP is answered here, by the guest's own clock. All else is refused at once.
//
//	guest                    inner namespace            host
//	eth0 10.0.2.15  — veth —  queue: SYN       ──flow──→  judges, dials
//	                          ← RST, unreachable ←─────   refused, denied
//	                          TPROXY: listener ←─flow─→   connection
//
// It decides nothing: what a guest may reach is the host's to say. A process in the
// guest that took the agent's place would get exactly what eth0 gives.
package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/channel/flow"
	"banger/internal/channel/netflow"
)

// Addresses of the network, the same in every VM.
var (
	guestAddr   = netip.MustParsePrefix("10.0.2.15/24")
	gatewayAddr = netip.MustParsePrefix("10.0.2.2/24")
	// Resolver is the address of the nameserver that the guest is told. Any other
	// would do: all questions come to the host.
	resolverAddr = netip.MustParsePrefix("10.0.2.3/24")

	guestAddr6   = netip.MustParsePrefix("fd00:2::15/64")
	gatewayAddr6 = netip.MustParsePrefix("fd00:2::2/64")
)

// Network is the inner namespace and who answers in it.
type Network struct {
	options    Options
	say        func(format string, args ...any)
	inner      *namespace
	carriers   carriers
	gate       gate
	denials    denials
	owners     owners
	questions  chan struct{} // one for each datagram of DNS under way
	pings      chan struct{}
	notes      chan struct{}
	raw4, raw6 int         // sockets of ICMP
	rest       *time.Timer // giveBack's
	running    sync.WaitGroup
	// Times in nanoseconds since 1970: the last question of NTP, 0 for none, and the last
	// time that the host looked at the clock. At its boot a guest has the host's time.
	timeAnswered, clockChecked atomic.Int64
}

// Limits of what is under way at once.
const (
	maxQuestions = 256
	maxPings     = 64
	maxNotes     = 16
)

// Options of a guest's network.
type Options struct {
	// Modules is the directory of the kernel's modules (/lib/modules/RELEASE).
	Modules string
	// IPv6 gives the guest an address of IPv6 and a route.
	IPv6 bool
	// Say takes a line for the guest's console.
	Say func(format string, args ...any)
}

// Start makes the network of a guest. A kernel that lacks one of the modules is an
// error, and then there is no eth0. All behind eth0 comes when the guest first asks for it (sleep).
func Start(o Options) (*Network, error) {
	m, err := openModules(o.Modules)
	if err != nil {
		return nil, err
	}
	for _, name := range answerModules {
		if _, err := m.find(name); err != nil {
			return nil, err
		}
	}
	if err := m.load(linkModules...); err != nil {
		return nil, err
	}
	in, frames, err := makeNamespace(o.IPv6)
	if err != nil {
		return nil, err
	}
	if err := tellGuest("/"); err != nil {
		o.Say("network: tell the guest's programs of it: %v", err)
	}
	n := newNetwork(in, o)
	n.sleep(frames)
	return n, nil
}

// Resume takes over the network that an agent before this one has made: nil if there
// is none.
func Resume(o Options) (*Network, error) {
	in, ipv6, err := findNamespace()
	if in == nil || err != nil {
		return nil, err
	}
	o.IPv6 = ipv6
	n := newNetwork(in, o)
	return n, n.wake()
}

func newNetwork(in *namespace, o Options) *Network {
	n := &Network{
		options: o, say: o.Say, inner: in,
		denials: denials{path: deniedFile}, questions: make(chan struct{}, maxQuestions), pings: make(chan struct{}, maxPings), notes: make(chan struct{}, maxNotes),
	}
	n.carriers.init()
	n.ClockChecked()
	n.rest = time.AfterFunc(restTime, giveBack)
	return n
}

// listen begins to answer in the inner namespace, in which it is called.
func (n *Network) listen(ipv6 bool) error {
	answerAlways()
	tcp, err := listenTCP(0)
	if err != nil {
		return err
	}
	var begin []func()
	for _, family := range []string{"udp4", "udp6"} {
		if family == "udp6" && !ipv6 {
			break
		}
		for port, answer := range map[int]func(*net.UDPConn) error{portDNS: n.answerQuestions, portTime: n.answerTime} {
			s, err := listenUDP(family, port)
			if err != nil {
				return err
			}
			begin = append(begin, func() { n.answer(s, family, port, answer) })
		}
	}
	if n.raw4, err = rawSocket(unix.AF_INET, unix.IPPROTO_ICMP); err != nil {
		return err
	}
	if n.raw6, err = rawSocket(unix.AF_INET6, unix.IPPROTO_ICMPV6); err != nil && ipv6 {
		return err
	}
	if err := setRules(n.inner, tcp.Addr().(*net.TCPAddr).Port); err != nil {
		return err
	}
	n.gate = gate{n: n, asked: map[pair]bool{}, made: map[pair]*flow.Flow{}}
	if err := n.gate.open(n.inner); err != nil {
		return err
	}
	n.running.Go(func() { n.accept(tcp) }) // ends with the guest
	for _, f := range begin {
		n.running.Go(f) // ends with the guest
	}
	return nil
}

// Serve takes carriers of flows, which the host opens, from l until it is closed.
func (n *Network) Serve(l net.Listener) error { return n.carriers.serve(l, n.answerHost) }

// answerHost answers the host's flows.
func (n *Network) answerHost(f *flow.Flow) {
	r, err := netflow.Parse(f.Header())
	switch {
	case err == nil && r.Kind == netflow.Listener:
		listener(f, r)
	case err == nil && r.Kind == netflow.Denial:
		n.denied(f, r)
	default:
		f.Refuse(netflow.Refused, fmt.Sprintf("the agent knows no flow of the kind %q", r.Kind))
	}
}

// listener connects to what listens in the guest.
func listener(f *flow.Flow, r netflow.Request) {
	c, err := net.Dial("tcp", r.Addr.String())
	if err != nil {
		f.Refuse(codeOf(err), err.Error())
		return
	}
	if f.Accept() != nil {
		c.Close()
		return
	}
	flow.Join(f, c.(*net.TCPConn))
}

// open asks the host for a flow: by another carrier if one ends meanwhile.
func (n *Network) open(ctx context.Context, r netflow.Request) (*flow.Flow, error) {
	for {
		s, err := n.carriers.pick(ctx)
		if err != nil {
			return nil, err
		}
		f, err := s.Open(ctx, r.Marshal())
		if !errors.Is(err, flow.ErrSession) {
			return f, err
		}
	}
}

// refusal is the code of a flow that could not be opened: what is not the host's word is
// unreachable.
func refusal(err error) byte {
	var r *flow.RefusedError
	if errors.As(err, &r) {
		return r.Code
	}
	return netflow.Unreachable
}
