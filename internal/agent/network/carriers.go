package network

import (
	"context"
	"net"
	"sync"

	"banger/internal/channel/flow"
)

// carriers are the streams that the host has opened for flows.
type carriers struct {
	mu       sync.Mutex
	sessions []*flow.Session
	came     chan struct{} // closed when one comes
}

func (c *carriers) init() { c.came = make(chan struct{}) }

// serve takes carriers from l until it is closed. handle answers the flows that the host
// opens.
func (c *carriers) serve(l net.Listener, handle func(*flow.Flow)) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		s := flow.New(conn, false, 0, handle)
		c.mu.Lock()
		c.sessions = append(c.sessions, s)
		close(c.came)
		c.came = make(chan struct{})
		c.mu.Unlock()
		go func() { // ends with the carrier
			<-s.Done()
			c.drop(s)
			s.Close()
		}()
	}
}

func (c *carriers) drop(s *flow.Session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, other := range c.sessions {
		if other == s {
			c.sessions = append(c.sessions[:i:i], c.sessions[i+1:]...)
		}
	}
}

// pick returns the carrier with the fewest flows. It waits for one until ctx ends.
func (c *carriers) pick(ctx context.Context) (*flow.Session, error) {
	for {
		c.mu.Lock()
		var best *flow.Session
		fewest := 0
		for _, s := range c.sessions {
			if s.Err() != nil {
				continue // drop comes
			}
			if n := s.Flows(); best == nil || n < fewest {
				best, fewest = s, n
			}
		}
		came := c.came
		c.mu.Unlock()
		if best != nil {
			return best, nil
		}
		select {
		case <-came:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
