package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"banger/internal/hint"
	"banger/internal/unixsock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve answers on a socket with handle, as a daemon of this version.
func serve(t *testing.T, handle http.HandlerFunc) *Client {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := unixsock.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(HeaderVersion, fmt.Sprintf("%d test", Version))
		handle(w, r)
	})}
	done := make(chan struct{})
	go func() { // ends with server.Close
		server.Serve(l)
		close(done)
	}()
	c := NewClient(socket)
	t.Cleanup(func() {
		c.http.CloseIdleConnections()
		server.Close()
		<-done
	})
	return c
}

func TestGet(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if got, want := r.Header.Get(HeaderVersion), fmt.Sprintf("%d %s", Version, ProgramVersion()); got != want {
			t.Errorf("the request's %s is %q, want %q", HeaderVersion, got, want)
		}
		io.WriteString(w, `{"id":"0123456789abcdef","name":"a","socket":"/s"}`)
	})
	var got Session
	if err := c.Get(t.Context(), Path(PathSession, "a"), &got); err != nil {
		t.Fatal(err)
	}
	if want := (Session{"0123456789abcdef", "a", "/s"}); got != want {
		t.Errorf("Get = %+v, want %+v", got, want)
	}
}

func TestPathQuotes(t *testing.T) {
	for ref, want := range map[string]string{
		"dev":      "/v1/vms/dev/start",
		"../trash": "/v1/vms/..%2Ftrash/start",
		"a b?c#d":  "/v1/vms/a%20b%3Fc%23d/start",
		"{ref}":    "/v1/vms/%7Bref%7D/start",
	} {
		if got := Path(PathStart, ref); got != want {
			t.Errorf("Path(%q) = %q, want %q", ref, got, want)
		}
	}
}

func TestFaults(t *testing.T) {
	whole := &Fault{Code: CodeBoot, Message: "m", Hint: "h", Field: "f", Console: []string{"c"}, Op: "o", VM: "v"}
	for _, test := range []struct {
		name   string
		status int
		body   string
		want   *Fault
	}{
		{"whole", 502, `{"code":"boot","message":"m","hint":"h","field":"f","console":["c"],"op":"o","vm":"v"}`, whole},
		{"no JSON", 500, "<html>", &Fault{Code: CodeInternal, Message: "bangerd answers 500 Internal Server Error"}},
		{"empty", 404, "", &Fault{Code: CodeInternal, Message: "bangerd answers 404 Not Found"}},
		{"no message", 409, `{"code":"state"}`, &Fault{Code: CodeInternal, Message: "bangerd answers 409 Conflict"}},
		{"redirect to nowhere", 304, "", &Fault{Code: CodeInternal, Message: "bangerd answers 304 Not Modified"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(test.status)
				io.WriteString(w, test.body)
			})
			for how, err := range map[string]error{
				"Get":    c.Get(t.Context(), PathDaemon, nil),
				"Stream": c.Stream(t.Context(), http.MethodPost, PathVMs, Create{}, nil, func(Event) {}),
				"Copy":   c.Copy(t.Context(), PathDaemon, io.Discard),
			} {
				var got *Fault
				if !errors.As(err, &got) {
					t.Fatalf("%s = %v, want a *Fault", how, err)
				}
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("%s: the fault differs (-want +got):\n%s", how, diff)
				}
			}
		})
	}
}

func TestVersions(t *testing.T) {
	for _, theirs := range []string{"2 1.0", "", "1x", "\xff"} {
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(HeaderVersion, theirs)
			io.WriteString(w, `{"version":"1.0"}`)
		})
		err := c.Get(t.Context(), PathDaemon, nil)
		var f *Fault
		if !errors.As(err, &f) || f.Code != CodeVersion || f.Hint == "" {
			t.Errorf("Get from a daemon of version %q = %v, want a fault %q with a hint", theirs, err, CodeVersion)
		}
		var d Daemon
		if err := c.AnyVersion().Get(t.Context(), PathDaemon, &d); err != nil || d.Version != "1.0" {
			t.Errorf("AnyVersion().Get from a daemon of version %q = %v, version %q; want 1.0", theirs, err, d.Version)
		}
	}
}

func TestStream(t *testing.T) {
	for _, test := range []struct {
		name, body string
		events     int
		result     string
		err        string // part of it
	}{
		{"result", `{"stage":"boot","text":"a"}` + "\n" + `{"notice":"n"}` + "\n" + `{"result":"done"}` + "\n", 2, "done", ""},
		{"fault", `{"stage":"boot"}` + "\n" + `{"fault":{"code":"boot","message":"no"}}` + "\n", 1, "", "no"},
		{"no end", `{"stage":"boot"}` + "\n", 1, "", "ended before it answered"},
		{"nothing", "", 0, "", "ended before it answered"},
		{"half a line", `{"stage":"bo`, 0, "", "unexpected end of JSON"},
		{"result without line end", `{"result":"done"}`, 0, "done", ""},
		{"result of another type", `{"result":{}}` + "\n", 0, "", "cannot unmarshal"},
		{"a line without end", strings.Repeat("x", maxLine+1), 0, "", "a line has more than"},
		{"what follows the result", `{"result":"done"}` + "\n" + `{"stage":"late"}` + "\n", 0, "done", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := serve(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, test.body) })
			events, result := 0, ""
			err := c.Stream(t.Context(), http.MethodPost, PathVMs, Create{}, &result, func(Event) { events++ })
			if events != test.events || result != test.result {
				t.Errorf("Stream gave %d events and %q, want %d and %q", events, result, test.events, test.result)
			}
			if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("Stream = %v, want an error with %q", err, test.err)
			}
		})
	}
}

// A caller that gives up is seen by the daemon, and gets its context's error.
func TestCancel(t *testing.T) {
	gone := make(chan struct{})
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"stage":"boot"}`+"\n")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
		close(gone)
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := c.Stream(ctx, http.MethodPost, PathVMs, Create{}, nil, func(Event) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Stream = %v, want context.Canceled", err)
	}
	select {
	case <-gone:
	case <-time.After(10 * time.Second):
		t.Error("the daemon did not see its caller go")
	}
}

func TestNoDaemon(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	if err := NewClient(socket).Get(t.Context(), PathDaemon, nil); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("Get without a daemon = %v, want ErrNoDaemon", err)
	}
	t.Setenv(NoAutostart, "1")
	_, err := Connect(t.Context(), socket)
	if !errors.Is(err, ErrNoDaemon) || !strings.Contains(hint.Of(err), NoAutostart) {
		t.Errorf("Connect = %v, hint %q; want ErrNoDaemon and %s named", err, hint.Of(err), NoAutostart)
	}
}
