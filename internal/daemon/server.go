package daemon

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"banger/internal/api"
	"banger/internal/unixsock"
)

// maxRequest bounds a request's body, in bytes.
const maxRequest = 1 << 20

type contextKey int

const (
	keyPeer contextKey = iota // pid of the caller, int32
	keyOp                     // the operation's id, string
)

func (d *Daemon) newServer() *http.Server {
	mux := http.NewServeMux()
	for _, h := range d.handlers() {
		mux.HandleFunc(h.route.Method+" "+h.route.Path, wrap(h.serve))
	}
	mux.HandleFunc("/", wrap(func(_ http.ResponseWriter, r *http.Request) error {
		return &api.Fault{Code: api.CodeNotFound, Message: fmt.Sprintf("bangerd has no %s %.80q", r.Method, r.URL.Path)}
	}))
	return &http.Server{
		Handler:           freeAfter(checkVersion(mux)),
		ConnContext:       identify,
		BaseContext:       func(net.Listener) context.Context { return d.life },
		MaxHeaderBytes:    16 << 10,
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(slog.Default().Handler(), slog.LevelDebug),
	}
}

// identify notes who calls, and closes a connection of another user.
func identify(ctx context.Context, c net.Conn) context.Context {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	cred, err := unixsock.Peer(u)
	if err != nil || int(cred.Uid) != os.Getuid() {
		slog.Warn("refused a connection of another user", "err", err)
		c.Close()
		return ctx
	}
	return context.WithValue(ctx, keyPeer, cred.Pid)
}

// checkVersion holds both sides to one version of the API.
func checkVersion(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(api.HeaderVersion, fmt.Sprintf("%d %s", api.Version, api.ProgramVersion()))
		theirs, _, _ := strings.Cut(r.Header.Get(api.HeaderVersion), " ")
		if theirs != "" && theirs != strconv.Itoa(api.Version) {
			answerFault(w, &api.Fault{Code: api.CodeVersion, Hint: "banger daemon stop; the next command starts the right bangerd",
				Message: fmt.Sprintf("banger speaks version %.20q of the API, this bangerd (%s) version %d", theirs, api.ProgramVersion(), api.Version)})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// restAfter is how long after a request the daemon counts as idle.
const restAfter = 500 * time.Millisecond

// freeAfter gives the memory that a change took back once nothing else is asked for. The
// runtime does it too, but minutes later.
func freeAfter(next http.Handler) http.Handler {
	rest := time.AfterFunc(restAfter, debug.FreeOSMemory)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r)
		if r.Method != http.MethodGet {
			rest.Reset(restAfter)
		}
	})
}

// wrap gives a request its operation id, its log lines and its fault.
func wrap(handle func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var id [4]byte
		rand.Read(id[:])
		op := hex.EncodeToString(id[:])
		r = r.WithContext(context.WithValue(r.Context(), keyOp, op))
		r.Body = http.MaxBytesReader(w, r.Body, maxRequest)
		begin := time.Now()
		err := handle(w, r)
		level := slog.LevelInfo
		if r.Method == http.MethodGet {
			level = slog.LevelDebug
		}
		slog.Log(r.Context(), level, "request", "op", op, "method", r.Method, "path", r.URL.Path, "took", time.Since(begin).Round(time.Millisecond))
		if err != nil {
			logError(r, err)
			answerFault(w, toFault(err, op))
		}
	}
}

func logError(r *http.Request, err error) {
	if err != nil {
		slog.Warn("request failed", "op", requestOf(r).op, "path", r.URL.Path, "err", err)
	}
}

func answerFault(w http.ResponseWriter, f *api.Fault) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(api.Status(f.Code))
	json.NewEncoder(w).Encode(f)
}

func answer(w http.ResponseWriter, v any) error {
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(v); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(b.Bytes())
	return nil
}
