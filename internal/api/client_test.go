package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
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

func TestAnswer(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if got, want := r.Header.Get(HeaderVersion), fmt.Sprintf("%d %s", Version, ProgramVersion()); got != want {
			t.Errorf("the request's %s is %q, want %q", HeaderVersion, got, want)
		}
		io.WriteString(w, `{"id":"0123456789abcdef","name":"a","socket":"/s"}`)
	})
	got, err := c.VMSession(t.Context(), "a")
	if want := (Session{ID: "0123456789abcdef", Name: "a", Socket: "/s"}); got != want || err != nil {
		t.Errorf("VMSession = %+v, %v; want %+v", got, err, want)
	}
}

// Whatever a user types as a reference stays one element of the path, and the
// input of GET and DELETE is in the query.
func TestRequests(t *testing.T) {
	var got string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = r.Method + " " + r.URL.RequestURI() + " " + string(body)
		io.WriteString(w, "{\"result\":{}}\n")
	})
	for _, test := range []struct {
		want string
		call func(context.Context) error
	}{
		{"POST /v1/vms/dev/start {}", func(ctx context.Context) error { _, err := c.StartVM(ctx, "dev", Start{}, nil); return err }},
		{"POST /v1/vms/..%2Ftrash/stop {}", func(ctx context.Context) error { _, err := c.StopVM(ctx, "../trash", Stop{}, nil); return err }},
		{"GET /v1/vms/a%20b%3Fc%23d ", func(ctx context.Context) error { _, err := c.ShowVM(ctx, "a b?c#d"); return err }},
		{"GET /v1/vms/%7Bref%7D/health ", func(ctx context.Context) error { _, err := c.VMHealth(ctx, "{ref}"); return err }},
		{"DELETE /v1/vms/dev ", func(ctx context.Context) error { _, err := c.DeleteVM(ctx, "dev", Delete{}, nil); return err }},
		{"DELETE /v1/vms/dev?discard=true&force=true ", func(ctx context.Context) error {
			_, err := c.DeleteVM(ctx, "dev", Delete{Force: true, Discard: true}, nil)
			return err
		}},
		{"GET /v1/vms/dev/wait?state=gone ", func(ctx context.Context) error {
			_, err := c.WaitVM(ctx, "dev", WaitFor{StateGone}, nil)
			return err
		}},
		{"GET /v1/vms/dev/logs?follow=true ", func(ctx context.Context) error {
			return c.VMLogs(ctx, "dev", Logs{Follow: true}, io.Discard)
		}},
		{`PATCH /v1/vms/dev {"ttl_seconds":-1}`, func(ctx context.Context) error {
			_, err := c.SetVM(ctx, "dev", Set{TTLSeconds: -1}, nil)
			return err
		}},
	} {
		if err := test.call(t.Context()); err != nil {
			t.Errorf("%s: %v", test.want, err)
		}
		if got != test.want {
			t.Errorf("the request is %q, want %q", got, test.want)
		}
	}
}

// create makes a call that answers with events.
func create(ctx context.Context, c *Client, each Each) error {
	_, err := c.CreateVM(ctx, Create{}, each)
	return err
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
				"plain":  c.StopDaemon(t.Context()),
				"events": create(t.Context(), c, nil),
				"raw":    c.VMLogs(t.Context(), "a", Logs{}, io.Discard),
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
	for _, theirs := range []string{"1 1.0", "", "2x", "\xff"} {
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(HeaderVersion, theirs)
			io.WriteString(w, `{"version":"1.0"}`)
		})
		_, err := c.ShowDaemon(t.Context())
		var f *Fault
		if !errors.As(err, &f) || f.Code != CodeVersion || f.Hint == "" {
			t.Errorf("ShowDaemon of version %q = %v, want a fault %q with a hint", theirs, err, CodeVersion)
		}
		if d, err := c.AnyVersion().ShowDaemon(t.Context()); err != nil || d.Version != "1.0" {
			t.Errorf("AnyVersion().ShowDaemon of version %q = %v, version %q; want 1.0", theirs, err, d.Version)
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
		{"result", `{"stage":"boot","text":"a"}` + "\n" + `{"notice":"n"}` + "\n" + `{"result":{"name":"done"}}` + "\n", 2, "done", ""},
		{"fault", `{"stage":"boot"}` + "\n" + `{"fault":{"code":"boot","message":"no"}}` + "\n", 1, "", "no"},
		{"no end", `{"stage":"boot"}` + "\n", 1, "", "ended before it answered"},
		{"nothing", "", 0, "", "ended before it answered"},
		{"half a line", `{"stage":"bo`, 0, "", "unexpected end of JSON"},
		{"result without line end", `{"result":{"name":"done"}}`, 0, "done", ""},
		{"result of another type", `{"result":"x"}` + "\n", 0, "", "cannot unmarshal"},
		{"a line without end", strings.Repeat("x", maxLine+1), 0, "", "a line has more than"},
		{"what follows the result", `{"result":{"name":"done"}}` + "\n" + `{"stage":"late"}` + "\n", 0, "done", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := serve(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, test.body) })
			events := 0
			v, err := c.CreateVM(t.Context(), Create{}, func(Event) { events++ })
			if events != test.events || v.Name != test.result {
				t.Errorf("CreateVM gave %d events and %q, want %d and %q", events, v.Name, test.events, test.result)
			}
			if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("CreateVM = %v, want an error with %q", err, test.err)
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
	if err := create(ctx, c, func(Event) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Errorf("CreateVM = %v, want context.Canceled", err)
	}
	select {
	case <-gone:
	case <-time.After(10 * time.Second):
		t.Error("the daemon did not see its caller go")
	}
}

func TestNoDaemon(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	if _, err := NewClient(socket).ShowDaemon(t.Context()); !errors.Is(err, ErrNoDaemon) || !strings.Contains(err.Error(), socket) {
		t.Errorf("ShowDaemon without a daemon = %v, want ErrNoDaemon and %s named", err, socket)
	}
}

// A server of another user is refused before anything is sent to it.
func TestStranger(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can be two users at once")
	}
	dir, err := os.MkdirTemp("", "stranger")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	const nobody = 65534
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	// The kernel notes who listens when the socket begins to listen.
	if err := syscall.Seteuid(nobody); err != nil {
		t.Fatal(err)
	}
	l, err := unixsock.Listen(filepath.Join(dir, "s"))
	syscall.Seteuid(0)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = NewClient(filepath.Join(dir, "s")).ShowDaemon(t.Context())
	var stranger *StrangerError
	if !errors.As(err, &stranger) || stranger.UID != nobody || hint.Of(err) == "" {
		t.Errorf("ShowDaemon of a server of uid %d = %v, want a *StrangerError with a hint", nobody, err)
	}
	l.SetDeadline(time.Now().Add(time.Second))
	if c, err := l.Accept(); err == nil {
		if text, _ := io.ReadAll(c); len(text) > 0 {
			t.Errorf("it was sent %q, want nothing", text)
		}
		c.Close()
	}
}
