package supervisor

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"banger/internal/api"
	"banger/internal/channel"
	"banger/internal/unixsock"
)

// newServer answers on the supervisor's socket: the daemon's questions and the
// CLI's sessions.
func newServer(r *run) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pathStatus, r.serveStatus)
	mux.HandleFunc("GET "+pathEvents, r.serveEvents)
	mux.HandleFunc("POST "+pathStop, r.serveStop)
	mux.HandleFunc("GET "+pathDial, r.serveDial)
	mux.HandleFunc("GET "+pathConsole, r.serveConsole)
	return &http.Server{
		Handler:           mux,
		ConnContext:       refuseOthers,
		MaxHeaderBytes:    16 << 10,
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(slog.Default().Handler(), slog.LevelDebug),
	}
}

// refuseOthers closes a connection of another user. The directory's mode keeps
// them out already; this holds where somebody changed it.
func refuseOthers(ctx context.Context, c net.Conn) context.Context {
	if u, ok := c.(*net.UnixConn); ok {
		if cred, err := unixsock.Peer(u); err != nil || int(cred.Uid) != os.Getuid() {
			c.Close()
		}
	}
	return ctx
}

func (r *run) serveStatus(w http.ResponseWriter, _ *http.Request) {
	s, _ := r.snapshot()
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(s)
}

func (r *run) serveEvents(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	rc := http.NewResponseController(w)
	enc := json.NewEncoder(w)
	for {
		s, changed := r.snapshot()
		if enc.Encode(s) != nil || rc.Flush() != nil || s.Phase == Gone {
			return
		}
		select {
		case <-changed:
		case <-req.Context().Done():
			return
		}
	}
}

func (r *run) serveStop(w http.ResponseWriter, req *http.Request) {
	var s Stop
	if err := json.NewDecoder(io.LimitReader(req.Body, 4<<10)).Decode(&s); err != nil {
		refuse(w, api.CodeInvalid, err.Error())
		return
	}
	r.requestStop(s)
	w.WriteHeader(http.StatusAccepted)
}

func (r *run) serveConsole(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Content-Type", "application/octet-stream")
	out := &flushWriter{w, http.NewResponseController(w)}
	if req.URL.Query().Get("follow") == "true" {
		r.console.Follow(req.Context(), out)
		return
	}
	CopyConsole(out, r.spec.Dir)
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

func refuse(w http.ResponseWriter, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(api.Status(code))
	json.NewEncoder(w).Encode(api.Fault{Code: code, Message: message})
}

// serveDial turns the connection into a stream to one of the guest's services.
func (r *run) serveDial(w http.ResponseWriter, req *http.Request) {
	port, err := strconv.ParseUint(req.URL.Query().Get("port"), 10, 32)
	if err != nil || req.Header.Get("Upgrade") != Upgrade {
		refuse(w, api.CodeInvalid, "a dial needs ?port=N and the header Upgrade: "+Upgrade)
		return
	}
	c := r.carrier()
	if c == nil {
		s, _ := r.snapshot()
		refuse(w, api.CodeState, fmt.Sprintf("VM %q is not ready: %s", r.spec.Name, s.Phase))
		return
	}
	ctx, cancel := context.WithTimeout(req.Context(), 30*time.Second)
	stream, err := c.Dial(ctx, uint32(port))
	cancel()
	if err != nil {
		refuse(w, api.CodeState, fmt.Sprintf("reach the guest of VM %q: %v", r.spec.Name, err))
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		stream.Close()
		return
	}
	fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", Upgrade)
	bridge(conn, buffered, stream)
}

// bridge copies both ways until the guest has said all or the client is gone.
// The guest carries the result, so its end decides; a client ends its input
// inside its protocol, so the end of its connection means that it is gone.
func bridge(client net.Conn, fromClient io.Reader, guest channel.Stream) {
	var copying sync.WaitGroup
	copying.Go(func() { // ends with client's or guest's end; both are closed below
		copyStream(guest, fromClient)
		// A guest that takes no more may still have its last words under way: a
		// process that ended before all of its input came.
		copyStream(io.Discard, fromClient)
		guest.Close()
	})
	copyStream(client, guest)
	client.Close()
	guest.Close()
	copying.Wait()
}

// streamBuffer holds one frame of package exec's bulk size and its header, in
// bytes.
const streamBuffer = 257 << 10

var buffers = sync.Pool{New: func() any { return new([streamBuffer]byte) }}

func copyStream(dst io.Writer, src io.Reader) {
	b := buffers.Get().(*[streamBuffer]byte)
	defer buffers.Put(b)
	// Plain reads and writes: neither side has a descriptor to splice.
	io.CopyBuffer(struct{ io.Writer }{dst}, struct{ io.Reader }{src}, b[:])
}
