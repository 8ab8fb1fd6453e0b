package egress

import (
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

func (b *bucket) take(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.last.IsZero() {
		b.have = b.burst
	} else {
		b.have = min(b.burst, b.have+now.Sub(b.last).Seconds()*b.rate)
	}
	b.last = now
	if b.have < 1 {
		return false
	}
	b.have--
	return true
}
