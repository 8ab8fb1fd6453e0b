package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"banger/internal/fault"
	"banger/internal/unixsock"
)

// door is the supervisor's socket and who answers there.
type door struct {
	dir     string
	server  *http.Server
	bound   os.FileInfo // the socket's file; nil if it was gone at once
	serving sync.WaitGroup
}

// openDoor answers on l, which is bound to the socket of the VM in dir.
func openDoor(h http.Handler, dir string, l net.Listener) *door {
	d := &door{dir: dir, server: &http.Server{
		Handler:           h,
		ConnContext:       refuseOthers,
		MaxHeaderBytes:    16 << 10,
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(slog.Default().Handler(), slog.LevelDebug),
	}}
	d.serve(l)
	return d
}

func (d *door) serve(l net.Listener) {
	d.bound, _ = os.Lstat(SocketPath(d.dir))
	d.serving.Go(func() { d.server.Serve(l) }) // ends with close
}

// keep makes the socket anew whenever its file is gone, until over is closed:
// cleaners of old files take sockets too. The lock of the run is ours, so nobody
// else's socket can be there.
func (d *door) keep(over <-chan struct{}, log *slog.Logger) {
	tick := time.NewTicker(Heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-over:
			return
		case <-tick.C:
		}
		path := SocketPath(d.dir)
		if fi, err := os.Lstat(path); err == nil && d.bound != nil && os.SameFile(fi, d.bound) {
			continue
		}
		var l *net.UnixListener
		err := fault.Do("sockets.anew", func() (err error) {
			os.Remove(path)
			if err = os.MkdirAll(RunDir(d.dir), 0o700); err == nil {
				l, err = unixsock.Listen(path)
			}
			return err
		})
		if err != nil { // tried again at the next tick
			log.Warn("make the supervisor's socket anew", "err", err)
			continue
		}
		log.Warn("the supervisor's socket was gone: made anew", "path", path)
		d.serve(l)
	}
}

// close waits a moment for answers under way: followers of events and console see
// the end by themselves, and sessions have lost their streams.
func (d *door) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if d.server.Shutdown(ctx) != nil {
		d.server.Close()
	}
	d.serving.Wait()
}

// refuseOthers closes a connection of another user. The directory's mode keeps
// them out already; this holds if somebody changed it.
func refuseOthers(ctx context.Context, c net.Conn) context.Context {
	if u, ok := c.(*net.UnixConn); ok {
		if cred, err := unixsock.Peer(u); err != nil || int(cred.Uid) != os.Getuid() {
			c.Close()
		}
	}
	return ctx
}

// handler answers the daemon's requests and the CLI's sessions.
func (r *run) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pathStatus, r.serveStatus)
	mux.HandleFunc("GET "+pathEvents, r.serveEvents)
	mux.HandleFunc("POST "+pathStop, r.serveStop)
	mux.HandleFunc("POST "+pathKill, r.serveKill)
	mux.HandleFunc("GET "+pathDial, r.serveDial)
	mux.HandleFunc("GET "+pathConsole, r.serveConsole)
	mux.HandleFunc("GET "+pathKeys, r.serveKeys)
	mux.HandleFunc("GET "+pathHealth, r.serveHealth)
	mux.HandleFunc("POST "+pathGrow, r.serveGrow)
	mux.HandleFunc("POST "+pathPolicy, r.servePolicy)
	mux.HandleFunc("GET "+pathNetwork, r.serveNetwork)
	mux.HandleFunc("GET "+pathPorts, r.servePorts)
	mux.HandleFunc("POST "+pathForward, r.serveForward)
	mux.HandleFunc("GET "+pathFlows, r.serveFlows)
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set(Header, strconv.Itoa(Protocol))
		mux.ServeHTTP(w, req)
	})
}

func (r *run) serveStatus(w http.ResponseWriter, _ *http.Request) {
	s, _ := r.now()
	answer(w, http.StatusOK, wire(s))
}

func (r *run) serveEvents(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	rc := http.NewResponseController(w)
	enc := json.NewEncoder(w)
	beat := time.NewTicker(Heartbeat)
	defer beat.Stop()
	for {
		s, changed := r.now()
		if enc.Encode(wire(s)) != nil || rc.Flush() != nil || s.Phase == Gone {
			return
		}
		select {
		case <-changed:
		case <-beat.C:
		case <-req.Context().Done():
			return
		}
	}
}

func (r *run) serveStop(w http.ResponseWriter, req *http.Request) {
	var s Stop
	if !r.read(w, req, verbStop, &s) {
		return
	}
	r.answerPost(w, req, request{stop: &s})
}

func (r *run) serveKill(w http.ResponseWriter, req *http.Request) {
	var k Kill
	if !r.read(w, req, verbKill, &k) {
		return
	}
	sig, err := k.number()
	if err != nil {
		refuse(w, &Refusal{Code: CodeInvalid, Message: err.Error()})
		return
	}
	r.answerPost(w, req, request{kill: sig})
}

// maxRequest bounds a request's body, in bytes: the largest is a policy.
const maxRequest = 1 << 20

// read checks the phase for v and reads the body into in.
func (r *run) read(w http.ResponseWriter, req *http.Request, v verb, in any) bool {
	s, _ := r.now()
	if err := check(s.Phase, v); err != nil {
		refuse(w, err)
		return false
	}
	if err := json.NewDecoder(io.LimitReader(req.Body, maxRequest)).Decode(in); err != nil {
		refuse(w, &Refusal{Code: CodeInvalid, Message: "read the request: " + err.Error()})
		return false
	}
	return true
}

func (r *run) answerPost(w http.ResponseWriter, req *http.Request, q request) {
	if err := r.post(req.Context(), q); err != nil {
		refuse(w, err)
		return
	}
	answer(w, http.StatusAccepted, struct{}{})
}

func (r *run) serveConsole(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Content-Type", "application/octet-stream")
	out := &flushWriter{w, http.NewResponseController(w)}
	out.rc.Flush()
	if q := req.URL.Query(); q.Get("follow") == "true" {
		r.console.Follow(req.Context(), out, q.Get("from") == "now")
		return
	}
	CopyConsole(out, r.order.Dir)
}

type flushWriter struct {
	w  io.Writer
	rc *http.ResponseController
}

func (f *flushWriter) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if err == nil {
		err = f.rc.Flush()
	}
	return n, err
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

// refuse answers with err, whose code is internal if it has none.
func refuse(w http.ResponseWriter, err error) {
	var f *Refusal
	if !errors.As(err, &f) {
		f = &Refusal{Code: CodeInternal, Message: err.Error()}
	}
	answer(w, statuses[f.Code], f)
}
