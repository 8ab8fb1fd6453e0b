package session

import (
	"io"
	"sync"
	"time"

	"banger/internal/channel/exec"
)

// agentLimit is how long a guest's agent may take to say that it counts what its
// process takes. One of an earlier version never says it.
const agentLimit = 2 * time.Second

// held is stdin, held back: no more than a window is on its way to a process that
// does not take it (exec.Request.Held). An agent that does not count what is taken
// gets all of it.
type held struct {
	r io.Reader

	mu    sync.Mutex
	moved sync.Cond
	room  int // what may be sent, in bytes
	known bool
	free  bool // the agent does not count
	over  bool
}

func newHeld(r io.Reader) *held {
	h := &held{r: r, room: exec.Window}
	h.moved.L = &h.mu
	return h
}

// Read implements io.Reader. After the session's end it is at its end.
func (h *held) Read(p []byte) (int, error) {
	h.mu.Lock()
	for h.room <= 0 && !h.free && !h.over {
		h.moved.Wait()
	}
	if h.over {
		h.mu.Unlock()
		return 0, io.EOF
	}
	if !h.free {
		p = p[:min(len(p), h.room)]
	}
	h.mu.Unlock()
	n, err := h.r.Read(p)
	h.mu.Lock()
	h.room -= n
	h.mu.Unlock()
	return n, err
}

// hear takes the guest's next frame into account: the first one says whether the
// agent counts.
func (h *held) hear(t exec.Type, p []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t == exec.TypeTaken {
		n, _ := exec.ParseTaken(p)
		h.room += n
		h.free = false
	} else if !h.known {
		h.free = true
	}
	h.known = true
	h.moved.Broadcast()
}

// silent says that the agent has not said within agentLimit that it counts.
func (h *held) silent() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.free = h.free || !h.known
	h.moved.Broadcast()
}

func (h *held) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.over = true
	h.moved.Broadcast()
}
