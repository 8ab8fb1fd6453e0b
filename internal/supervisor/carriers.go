package supervisor

import (
	"context"
	"slices"
	"sync"
	"time"

	"banger/internal/channel"
	"banger/internal/channel/flow"
	"banger/internal/vmm"
)

const (
	// carrierCount is how many carriers of flows a VM has: what one of them waits for,
	// its flows wait for.
	carrierCount = 4
	// carrierPause is from a carrier's end to the next try, at first; it grows to
	// carrierPauseMost while there is no other.
	carrierPause     = 100 * time.Millisecond
	carrierPauseMost = 5 * time.Second
	// carrierLimit bounds the opening of one.
	carrierLimit = 20 * time.Second
)

// carriers are those that are open now.
type carriers struct {
	mu      sync.Mutex
	live    []*flow.Session
	changed chan struct{} // closed and replaced when one is opened
}

func newCarriers() *carriers { return &carriers{changed: make(chan struct{})} }

func (c *carriers) add(s *flow.Session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.live = append(c.live, s)
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *carriers) remove(s *flow.Session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.live = slices.DeleteFunc(c.live, func(o *flow.Session) bool { return o == s })
}

// open opens a flow to the guest on the carrier that has the fewest. It waits for one until
// ctx ends.
func (c *carriers) open(ctx context.Context, header []byte) (*flow.Flow, error) {
	for {
		c.mu.Lock()
		var least *flow.Session
		for _, s := range c.live {
			if s.Err() == nil && (least == nil || s.Flows() < least.Flows()) {
				least = s
			}
		}
		changed := c.changed
		c.mu.Unlock()
		if least != nil {
			return least.Open(ctx, header)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// carry keeps one carrier of the guest's flows open from when the guest is ready until
// the VMM's end. handle answers the flows that the guest opens.
func (r *run) carry(m vmm.Machine, all *carriers, handle func(*flow.Flow)) {
	pause := carrierPause
	for r.isReady(m) {
		ctx, cancel := context.WithTimeout(context.Background(), carrierLimit)
		stream, err := m.Carrier().Dial(ctx, channel.PortFlow)
		cancel()
		if err == nil {
			s := flow.New(stream, true, 0, handle)
			all.add(s)
			select {
			case <-s.Done():
				r.log.Info("a carrier of the guest's network has ended", "why", escape(s.Err().Error()))
			case <-m.Done():
			}
			all.remove(s)
			s.Close()
			pause = carrierPause
		} else {
			pause = min(2*pause, carrierPauseMost)
		}
		select {
		case <-m.Done():
			return
		case <-time.After(pause):
		}
	}
}

// isReady waits until the guest is ready, and reports whether it is: it never is after
// the VMM's end.
func (r *run) isReady(m vmm.Machine) bool {
	for {
		s, changed := r.now()
		switch s.Phase {
		case Ready:
			return true
		case Ending, Gone:
			return false
		}
		select {
		case <-changed:
		case <-m.Done():
			return false
		}
	}
}
