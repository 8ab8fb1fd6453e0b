package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"banger/internal/api"
	"banger/internal/progress"
)

// handler is a row of the API with what answers it.
type handler struct {
	route *api.Route
	serve func(http.ResponseWriter, *http.Request) error
}

// request is what a handler knows beside its input.
type request struct {
	ref string // of the path; "" if it has none
	pid int    // of the calling process; 0 if it can't be seen
	op  string // the operation's id in the log
}

func requestOf(r *http.Request) request {
	pid, _ := r.Context().Value(keyPeer).(int32)
	op, _ := r.Context().Value(keyOp).(string)
	return request{ref: r.PathValue("ref"), pid: int(pid), op: op}
}

// plain answers with one value.
func plain[In, Out any](call api.Call[In, Out], f func(context.Context, request, In) (Out, error)) handler {
	return handler{call.Route, func(w http.ResponseWriter, r *http.Request) error {
		var in In
		if err := decode(r, &in); err != nil {
			return err
		}
		out, err := f(r.Context(), requestOf(r), in)
		if err != nil {
			return err
		}
		return answer(w, out)
	}}
}

// events answers with steps, and the value last.
func events[In, Out any](call api.Call[In, Out], f func(context.Context, request, In, progress.Func) (Out, error)) handler {
	return handler{call.Route, func(w http.ResponseWriter, r *http.Request) error {
		var in In
		if err := decode(r, &in); err != nil {
			return err
		}
		s := newStream()
		done := make(chan struct{})
		go func() { // ends with the last event, or with the caller
			defer close(done)
			s.write(w)
		}()
		defer func() { <-done }()
		req := requestOf(r)
		out, err := f(r.Context(), req, in, s.step)
		var last api.Event
		if err == nil {
			last.Result, err = json.Marshal(out)
		}
		if err != nil {
			last.Fault = toFault(err, req.op)
		}
		s.put(last, true)
		logError(r, err)
		return nil
	}}
}

// raw answers with bytes as they come.
func raw[In any](call api.Call[In, api.None], f func(context.Context, request, In, io.Writer) error) handler {
	return handler{call.Route, func(w http.ResponseWriter, r *http.Request) error {
		var in In
		if err := decode(r, &in); err != nil {
			return err
		}
		out := &flushed{w: w, rc: http.NewResponseController(w)}
		w.Header().Set("Content-Type", "application/octet-stream")
		err := f(r.Context(), requestOf(r), in, out)
		if out.wrote {
			return nil // an answer under way can't become a fault
		}
		return err
	}}
}

// flushed passes each write on at once.
type flushed struct {
	w     io.Writer
	rc    *http.ResponseController
	wrote bool
}

func (f *flushed) Write(p []byte) (int, error) {
	f.wrote = true
	n, err := f.w.Write(p)
	if err == nil {
		err = f.rc.Flush()
	}
	return n, err
}

// decode reads the input strictly: the query of GET and DELETE, else the body.
// An empty one leaves in as it is.
func decode(r *http.Request, in any) error {
	var err error
	if r.Method == http.MethodGet || r.Method == http.MethodDelete {
		err = api.DecodeQuery(r.URL.Query(), in)
	} else {
		dec := json.NewDecoder(r.Body)
		dec.DisallowUnknownFields()
		if err = dec.Decode(in); err == io.EOF {
			err = nil
		}
	}
	if err != nil {
		return &api.Fault{Code: api.CodeInvalid, Message: fmt.Sprintf("read the request: %v", err)}
	}
	return nil
}
