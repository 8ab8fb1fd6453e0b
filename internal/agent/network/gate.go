package network

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/florianl/go-nfqueue/v2"
	"golang.org/x/sys/unix"

	"banger/internal/channel/flow"
	"banger/internal/channel/netflow"
)

const (
	// connectLimit bounds the wait for the host's word on a connection. A guest's kernel
	// gives up after 127 s by itself (tcp_syn_retries of 6).
	connectLimit = 2 * time.Minute
	// acceptLimit bounds the time from the host's word until the guest's connection is
	// there: its process may be gone.
	acceptLimit = 10 * time.Second
	noteLimit   = 5 * time.Second
	// maxWaiting bounds the SYNs that wait.
	maxWaiting = 4096
	// copied is how much of a packet the agent sees, in bytes: its headers; of a ping all.
	copied     = 160
	copiedPing = 64 << 10
)

// gate holds the guest's SYNs until the host has answered for them.
type gate struct {
	n     *Network
	mu    sync.Mutex
	asked map[pair]bool
	made  map[pair]*flow.Flow // accepted by the host, and not yet by the listener
}

// queued hands the packets of queue number num to f, which answers each, until the agent's end.
func (n *Network) queued(in *namespace, num uint16, size uint32, f func(q *nfqueue.Nfqueue, id uint32, p packet)) error {
	q, err := nfqueue.Open(&nfqueue.Config{
		NetNS: int(in.handle), NfQueue: num, MaxQueueLen: maxWaiting, MaxPacketLen: size,
		Copymode: nfqueue.NfQnlCopyPacket, WriteTimeout: time.Second,
	})
	if err != nil {
		return fmt.Errorf("open the queue %d: %w", num, err)
	}
	err = q.RegisterWithErrorFunc(context.Background(), func(a nfqueue.Attribute) int {
		if a.PacketID == nil || a.Payload == nil {
			return 0
		}
		p, err := parsePacket(*a.Payload)
		if err != nil {
			q.SetVerdict(*a.PacketID, nfqueue.NfDrop)
			return 0
		}
		f(q, *a.PacketID, p)
		return 0
	}, func(err error) int {
		if e, ok := err.(interface{ Timeout() bool }); !ok || !e.Timeout() {
			n.say("network: read the queue %d: %v", num, err)
		}
		return 0
	})
	if err != nil {
		return fmt.Errorf("listen to the queue %d: %w", num, err)
	}
	return nil
}

func (g *gate) open(in *namespace) error {
	if err := g.n.queued(in, queueSYN, copied, g.syn); err != nil {
		return err
	}
	if err := g.n.queued(in, queuePing, copiedPing, g.n.ping); err != nil {
		return err
	}
	return g.n.queued(in, queueUDP, copied, g.n.datagram)
}

// syn asks the host for the connection that a SYN is for. The same SYN again, which its
// sender sends while it waits, is dropped.
func (g *gate) syn(q *nfqueue.Nfqueue, id uint32, p packet) {
	ends, err := p.ports()
	if err != nil {
		q.SetVerdict(id, nfqueue.NfDrop)
		return
	}
	g.mu.Lock()
	waits := g.asked[ends] || g.made[ends] != nil
	full := len(g.asked) >= maxWaiting
	if !waits && !full {
		g.asked[ends] = true
	}
	g.mu.Unlock()
	switch {
	case waits:
		q.SetVerdict(id, nfqueue.NfDrop)
		return
	case full:
		q.SetVerdictWithOption(id, nfqueue.NfAccept, nfqueue.WithMark(markReset))
		return
	}
	request := netflow.Request{Kind: netflow.Connect, Addr: ends.to, From: ends.from}
	if ends.to.Port() == portDNS {
		request.Kind, request.TCP = netflow.DNS, true
	}
	g.n.running.Go(func() { // bounded by connectLimit
		ctx, cancel := context.WithTimeout(context.Background(), connectLimit)
		defer cancel()
		f, err := g.n.open(ctx, request)
		g.mu.Lock()
		if err == nil {
			g.made[ends] = f
			delete(g.asked, ends)
		}
		g.mu.Unlock()
		if err != nil {
			defer func() { // its SYN again, until it is answered, is the same
				g.mu.Lock()
				defer g.mu.Unlock()
				delete(g.asked, ends)
			}()
			q.SetVerdictWithOption(id, nfqueue.NfAccept, nfqueue.WithMark(markOf(refusal(err))))
			return
		}
		if err := q.SetVerdict(id, nfqueue.NfAccept); err != nil {
			g.n.say("network: let a connection through: %v", err)
		}
		time.AfterFunc(acceptLimit, func() {
			g.mu.Lock()
			defer g.mu.Unlock()
			if g.made[ends] == f {
				delete(g.made, ends)
				f.Reset()
			}
		})
	})
}

// take returns the host's flow for a connection, once; nil if there is none.
func (g *gate) take(ends pair) *flow.Flow {
	g.mu.Lock()
	defer g.mu.Unlock()
	f := g.made[ends]
	delete(g.made, ends)
	return f
}

// markOf is the mark with which a packet is refused.
func markOf(code byte) uint32 {
	switch code {
	case netflow.Refused, netflow.Busy, flow.CodeTooMany:
		return markReset
	case netflow.Denied:
		return markDenied
	}
	return markUnreachable
}

// datagram refuses a datagram when the host has heard of it. The host wants to hear of no QUIC:
// whoever speaks it goes on by TCP, at once.
func (n *Network) datagram(q *nfqueue.Nfqueue, id uint32, p packet) {
	refuse := func() { q.SetVerdictWithOption(id, nfqueue.NfAccept, nfqueue.WithMark(markPort)) }
	ends, err := p.ports()
	if err != nil || p.protocol != unix.IPPROTO_UDP || ends.to.Port() == portQUIC {
		refuse()
		return
	}
	select {
	case n.notes <- struct{}{}:
	default: // the host has heard enough
		refuse()
		return
	}
	n.running.Go(func() { // bounded by noteLimit
		defer func() { <-n.notes }()
		defer refuse()
		ctx, cancel := context.WithTimeout(context.Background(), noteLimit)
		defer cancel()
		if f, err := n.open(ctx, netflow.Request{Kind: netflow.Note, Addr: ends.to, From: ends.from}); err == nil {
			f.Close()
		}
	})
}
