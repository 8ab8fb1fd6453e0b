package egress

import (
	"sync"
	"time"
)

// excessPause is between two events of one limit.
const excessPause = 2 * time.Second

// excess records what is over the VM's limits. A flood is an event in each excessPause: its first
// as it is, then how many came since. Its methods may be called at once.
type excess struct {
	record func(Event)

	mu    sync.Mutex
	since map[kind]int // of each limit that was passed lately
}

// kind is a limit, as its events name it.
type kind struct{ proto, reason string }

func (x *excess) add(e Event) {
	x.mu.Lock()
	defer x.mu.Unlock()
	k := kind{e.Proto, e.Reason}
	if _, lately := x.since[k]; lately {
		x.since[k]++
		return
	}
	if x.since == nil {
		x.since = map[kind]int{}
	}
	x.since[k] = 0
	x.record(e)
	time.AfterFunc(excessPause, func() { x.tick(k) })
}

// tick records what came since the last event, and looks again later; if nothing did, the next
// one is a first one.
func (x *excess) tick(k kind) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.since[k] == 0 {
		delete(x.since, k)
		return
	}
	x.tell(k)
	time.AfterFunc(excessPause, func() { x.tick(k) })
}

// tell records what came since the last event. The mutex is held.
func (x *excess) tell(k kind) {
	if n := x.since[k]; n > 0 {
		x.since[k] = 0
		x.record(Event{Proto: k.proto, Reason: k.reason, Count: n})
	}
}

// flush records what was not yet.
func (x *excess) flush() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for k := range x.since {
		x.tell(k)
	}
}
