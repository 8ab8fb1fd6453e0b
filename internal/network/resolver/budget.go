package resolver

import (
	"sync"
	"time"
)

// textBudget is how many bytes of text records, questions and answers together, a
// VM may have each minute. Programs read some hundred bytes of them a day.
const textBudget = 16 << 10

// budget gives out textBudget bytes a minute, and no more at once. Its method may
// be called at once. The zero value is full.
type budget struct {
	mu   sync.Mutex
	used float64
	at   time.Time
}

// take takes n bytes, or none and reports false.
func (b *budget) take(n int) bool { return b.takeAt(n, time.Now()) }

func (b *budget) takeAt(n int, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used = max(0, b.used-now.Sub(b.at).Minutes()*textBudget)
	b.at = now
	if b.used+float64(n) > textBudget {
		return false
	}
	b.used += float64(n)
	return true
}

// maxBusy bounds the queries of a VM that are looked up at once: each holds a
// socket of the host.
const maxBusy = 256

// gate counts those that are inside. Its methods may be called at once.
type gate struct {
	mu sync.Mutex
	n  int
}

func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.n >= maxBusy {
		return false
	}
	g.n++
	return true
}

func (g *gate) leave() {
	g.mu.Lock()
	g.n--
	g.mu.Unlock()
}
