package egress

import (
	"net/netip"
	"sync"
	"time"

	"banger/internal/channel/netflow"
	"banger/internal/network/policy"
)

// maxWaiting bounds the denials that wait.
const maxWaiting = 256

// waiting are denials that are recorded once the guest has said which process asked, or
// has not in time.
type waiting struct {
	mu      sync.Mutex
	denials map[netip.AddrPort]func(process string)
}

// take returns what records the denial of a connection from there, once; nil if there is
// none.
func (w *waiting) take(from netip.AddrPort) func(process string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := w.denials[from]
	delete(w.denials, from)
	return d
}

// flush records those that wait still.
func (w *waiting) flush() {
	w.mu.Lock()
	denials := w.denials
	w.denials = nil
	w.mu.Unlock()
	for _, d := range denials {
		d("")
	}
}

// denyLater records a denial when the guest has said who asked.
func (g *Guest) denyLater(from netip.AddrPort, q policy.Question, v policy.Verdict) {
	w := &g.waiting
	w.mu.Lock()
	if w.denials == nil {
		w.denials = map[netip.AddrPort]func(string){}
	}
	room := len(w.denials) < maxWaiting && w.denials[from] == nil
	if room {
		w.denials[from] = func(process string) { g.deny(q, v, process) }
	}
	w.mu.Unlock()
	if !room {
		g.deny(q, v, "")
		return
	}
	time.AfterFunc(netflow.WhoLimit, func() {
		if d := w.take(from); d != nil {
			d("")
		}
	})
}
