package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// Client asks one guest. Its calls may be made at once; each dials a stream of
// its own and leaves nothing open. Errors that quote the guest are escaped.
type Client struct {
	http *http.Client
}

// NewClient makes a client that reaches the guest's control port through dial.
func NewClient(dial func(context.Context) (net.Conn, error)) *Client {
	t := &http.Transport{
		DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		Protocols:              new(http.Protocols),
		MaxResponseHeaderBytes: 4 << 10,
		DisableCompression:     true,
	}
	t.Protocols.SetUnencryptedHTTP2(true)
	return &Client{&http.Client{Transport: t}}
}

// call sends in as JSON and returns the answer's body, which the caller closes.
func (c *Client) call(ctx context.Context, method, path string, in any) (io.ReadCloser, error) {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://guest"+path, body)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 == 2 {
		return &answerBody{resp.Body, c.http}, nil
	}
	defer c.http.CloseIdleConnections()
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	var f Fault
	if json.Unmarshal(text, &f) != nil || f.Error == "" {
		f.Error = "status " + strconv.Itoa(resp.StatusCode)
	}
	q := strconv.QuoteToGraphic(fmt.Sprintf("%.500s", f.Error))
	err = fmt.Errorf("the guest's agent: %s", q[1:len(q)-1])
	if f.Damaged {
		err = damagedError{err}
	}
	return nil, err
}

// damagedError is an error that is ErrDamaged by the guest's word.
type damagedError struct{ error }

func (damagedError) Is(target error) bool { return target == ErrDamaged }

// answerBody ends its stream with itself.
type answerBody struct {
	io.ReadCloser
	http *http.Client
}

func (b *answerBody) Close() error {
	err := b.ReadCloser.Close()
	b.http.CloseIdleConnections()
	return err
}

func (c *Client) decode(ctx context.Context, method, path string, in, out any) error {
	body, err := c.call(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer body.Close()
	text, err := io.ReadAll(io.LimitReader(body, MaxBody+1))
	if err != nil {
		return err
	}
	if len(text) > MaxBody {
		return fmt.Errorf("the guest's answer is larger than %d bytes", MaxBody)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("read the guest's answer: %w", err)
	}
	return nil
}

// Identity says who the guest is and waits for its joined root.
func (c *Client) Identity(ctx context.Context, id Identity) (Ready, error) {
	var r Ready
	return r, c.decode(ctx, http.MethodPut, PathIdentity, id, &r)
}

// Health asks how the guest is.
func (c *Client) Health(ctx context.Context) (Health, error) {
	var h Health
	return h, c.decode(ctx, http.MethodGet, PathHealth, nil, &h)
}

// Sync returns when the guest's file systems are on its disks.
func (c *Client) Sync(ctx context.Context) error {
	return c.decode(ctx, http.MethodPost, PathSync, nil, nil)
}

// Grow returns when the guest's root is as large as its disk, which has grown to so many bytes.
func (c *Client) Grow(ctx context.Context, bytes int64) error {
	return c.decode(ctx, http.MethodPost, PathGrow, Grow{Bytes: bytes}, nil)
}

// Measure lets the guest measure its own fork and exec.
func (c *Client) Measure(ctx context.Context) (Measure, error) {
	var m Measure
	return m, c.decode(ctx, http.MethodPost, PathMeasure, nil, &m)
}

// maxEndEvents bounds the lines of End's answer.
const maxEndEvents = 100

// End asks the guest to end and passes its words on until the connection
// breaks, which is how a guest's end looks, or ctx ends.
func (c *Client) End(ctx context.Context, e End, each func(EndEvent)) error {
	body, err := c.call(ctx, http.MethodPost, PathEnd, e)
	if err != nil {
		return err
	}
	defer body.Close()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 4<<10)
	for range maxEndEvents {
		if !lines.Scan() {
			break
		}
		var ev EndEvent
		if err := json.Unmarshal(lines.Bytes(), &ev); err != nil {
			return fmt.Errorf("read the guest's answer: %w", err)
		}
		each(ev)
	}
	return ctx.Err()
}

// maxEvent bounds an Event's line, in bytes: a Listener takes 200 at most, with a name of
// 15 bytes that are all escaped.
const maxEvent = MaxListeners*200 + 4<<10

// eventPause is from one event to the next, at least. An agent says less; what another says in
// the guest costs the host no more.
const eventPause = 250 * time.Millisecond

// Events passes on what the agent says by itself, not more often than each eventPause, until the
// connection breaks, as it does at the agent's end, or ctx ends.
func (c *Client) Events(ctx context.Context, each func(Event)) error {
	body, err := c.call(ctx, http.MethodGet, PathEvents, nil)
	if err != nil {
		return err
	}
	defer body.Close()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxEvent)
	for lines.Scan() {
		var e Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("read the guest's event: %w", err)
		}
		each(e)
		select {
		case <-time.After(eventPause):
		case <-ctx.Done():
		}
	}
	if err := errors.Join(ctx.Err(), lines.Err()); err != nil {
		return err
	}
	return io.ErrUnexpectedEOF
}

// Service is what the agent does when asked.
type Service interface {
	Identity(ctx context.Context, id Identity) (Ready, error)
	Health(ctx context.Context) (Health, error)
	Sync(ctx context.Context) error
	Grow(ctx context.Context, g Grow) error
	Measure(ctx context.Context) (Measure, error)
	Clock(ctx context.Context) (Clock, error)
	SetClock(ctx context.Context, s ClockSet) error
	// End calls each with its stages and returns only where the guest goes on.
	End(e End, each func(EndEvent)) error
	// Events calls each with what happens until ctx ends.
	Events(ctx context.Context, each func(Event)) error
}

// Serve answers on l until it is closed.
func Serve(l net.Listener, s Service) error {
	server := &http.Server{Handler: handler(s), Protocols: new(http.Protocols), MaxHeaderBytes: 4 << 10}
	server.Protocols.SetUnencryptedHTTP2(true)
	return server.Serve(l)
}

func handler(s Service) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT "+PathIdentity, func(w http.ResponseWriter, r *http.Request) {
		var id Identity
		if read(w, r, &id) {
			ready, err := s.Identity(r.Context(), id)
			answer(w, ready, err)
		}
	})
	mux.HandleFunc("GET "+PathHealth, func(w http.ResponseWriter, r *http.Request) {
		h, err := s.Health(r.Context())
		answer(w, h, err)
	})
	mux.HandleFunc("POST "+PathSync, func(w http.ResponseWriter, r *http.Request) {
		answer(w, struct{}{}, s.Sync(r.Context()))
	})
	mux.HandleFunc("POST "+PathGrow, func(w http.ResponseWriter, r *http.Request) {
		var g Grow
		if read(w, r, &g) {
			answer(w, struct{}{}, s.Grow(r.Context(), g))
		}
	})
	mux.HandleFunc("POST "+PathMeasure, func(w http.ResponseWriter, r *http.Request) {
		m, err := s.Measure(r.Context())
		answer(w, m, err)
	})
	mux.HandleFunc("POST "+PathEnd, func(w http.ResponseWriter, r *http.Request) {
		var e End
		if !read(w, r, &e) {
			return
		}
		rc := http.NewResponseController(w)
		rc.Flush()
		err := s.End(e, func(ev EndEvent) {
			text, err := json.Marshal(ev)
			if err != nil {
				return
			}
			// The guest may end right after this. Flush returns when net/http has
			// the frame in its own buffer, which it writes out before it takes the
			// next: the line's end is a frame of its own.
			for _, part := range [][]byte{text, []byte("\n")} {
				w.Write(part)
				rc.Flush()
			}
		})
		if err != nil {
			json.NewEncoder(w).Encode(EndEvent{Stage: err.Error()})
		}
	})
	mux.HandleFunc("GET "+PathEvents, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		rc.Flush()
		s.Events(r.Context(), func(e Event) {
			json.NewEncoder(w).Encode(e)
			rc.Flush()
		})
	})
	handleClock(mux, s)
	for _, add := range testRoutes {
		add(mux, s)
	}
	return mux
}

// testRoutes are what builds for tests add.
var testRoutes []func(*http.ServeMux, Service)

func read(w http.ResponseWriter, r *http.Request, v any) bool {
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, MaxBody)).Decode(v)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		json.NewEncoder(w).Encode(Fault{Error: err.Error()})
	}
	return err == nil
}

func answer(w http.ResponseWriter, v any, err error) {
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		json.NewEncoder(w).Encode(Fault{Error: err.Error(), Damaged: errors.Is(err, ErrDamaged)})
		return
	}
	json.NewEncoder(w).Encode(v)
}

// Grace is End's time as a duration; Work is that of a guest that works.
func (e End) Grace() time.Duration { return time.Duration(e.GraceMillis) * time.Millisecond }
func (e End) Work() time.Duration  { return time.Duration(e.WorkMillis) * time.Millisecond }
