package daemon

import (
	"encoding/json"
	"net/http"
	"sync"

	"banger/internal/api"
	"banger/internal/progress"
)

// stream answers a long request with events. Steps that come faster than the
// caller reads are merged: the newest of a stage counts.
type stream struct {
	mu  sync.Mutex
	enc *json.Encoder
	rc  *http.ResponseController
}

// long runs work and answers with its events and, last, its result or fault.
func long(w http.ResponseWriter, r *http.Request, work func(step progress.Func) (any, error)) error {
	w.Header().Set("Content-Type", "application/x-ndjson")
	s := &stream{enc: json.NewEncoder(w), rc: http.NewResponseController(w)}
	// The status line goes out at once, so that the caller knows it is heard.
	s.rc.Flush()
	result, err := work(s.step)
	last := api.Event{}
	if err != nil {
		last.Fault = toFault(err, operation(r.Context()))
	} else if last.Result, err = json.Marshal(result); err != nil {
		last.Fault = toFault(err, operation(r.Context()))
	}
	s.send(last)
	return nil
}

func (s *stream) step(p progress.Step) {
	s.send(api.Event{Stage: p.Stage, Text: p.Text, Done: p.Done, Total: p.Total, Unit: p.Unit, Finished: p.Finished, Notice: p.Notice})
}

// send writes one line; a caller that is gone is seen by the request's context.
func (s *stream) send(e api.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.enc.Encode(e) == nil {
		s.rc.Flush()
	}
}
