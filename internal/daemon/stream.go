package daemon

import (
	"encoding/json"
	"net/http"
	"sync"

	"banger/internal/api"
	"banger/internal/progress"
)

// maxPending bounds the events that a caller has not taken yet.
const maxPending = 256

// stream answers a long call with events. It never blocks whoever reports a
// step: if the caller reads slowly, the newest step of a stage counts.
type stream struct {
	mu      sync.Mutex
	pending []api.Event
	over    bool
	wake    chan struct{} // of size one
}

func newStream() *stream { return &stream{wake: make(chan struct{}, 1)} }

func (s *stream) step(p progress.Step) {
	s.put(api.Event{Stage: api.Stage(p.Stage), Text: p.Text, Done: p.Done, Total: p.Total, Unit: p.Unit, Finished: p.Finished, Notice: p.Notice}, false)
}

func (s *stream) put(e api.Event, last bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	s.over = last
	if n := len(s.pending); !last && n > 0 && e.Notice == "" && s.pending[n-1].Notice == "" && s.pending[n-1].Stage == e.Stage {
		s.pending[n-1] = e
	} else if n < maxPending || last {
		s.pending = append(s.pending, e)
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// take returns what is to be written, and whether that is all.
func (s *stream) take() ([]api.Event, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.pending
	s.pending = nil
	return out, s.over
}

// write writes events until the last one is written or the caller is gone,
// which the request's context shows to the work.
func (s *stream) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	enc, rc := json.NewEncoder(w), http.NewResponseController(w)
	rc.Flush() // the caller knows at once that it is heard
	for {
		events, over := s.take()
		for _, e := range events {
			if enc.Encode(e) != nil {
				return
			}
		}
		if len(events) > 0 && rc.Flush() != nil || over {
			return
		}
		<-s.wake
	}
}
