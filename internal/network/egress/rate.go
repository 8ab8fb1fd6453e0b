package egress

import (
	"context"
	"sync"
	"time"
)

// bucket bounds a rate: burst at once, rate in each second after that.
type bucket struct {
	rate, burst float64

	mu   sync.Mutex
	have float64
	last time.Time
}

// take takes one if there is one.
func (b *bucket) take(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fill(now)
	if b.have < 1 {
		return false
	}
	b.have--
	return true
}

// wait takes one, and waits until it is there or ctx ends. The caller bounds how many wait.
func (b *bucket) wait(ctx context.Context) {
	b.mu.Lock()
	b.fill(time.Now())
	b.have--
	missing := -b.have
	b.mu.Unlock()
	if missing <= 0 {
		return
	}
	t := time.NewTimer(time.Duration(missing / b.rate * float64(time.Second)))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// fill adds what has come since the last time. The mutex is held.
func (b *bucket) fill(now time.Time) {
	if b.last.IsZero() {
		b.have = b.burst
	} else {
		b.have = min(b.burst, b.have+now.Sub(b.last).Seconds()*b.rate)
	}
	b.last = now
}
