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
