package cli

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"banger/internal/api"
	"banger/internal/autostart"
	"banger/internal/channel/exec"
	"banger/internal/paths"
	"banger/internal/unixsock"
)

// fakeDaemon is the other end of the API: it keeps the requests that came and
// answers each as the test says. Whatever it does not know is not found.
type fakeDaemon struct {
	mu       sync.Mutex
	requests []string
	answers  map[string]func(w http.ResponseWriter, r *http.Request)
}

// newDaemon serves on the socket where this test's commands look for one.
func newDaemon(t *testing.T, answers map[string]func(http.ResponseWriter, *http.Request)) *fakeDaemon {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("XDG_STATE_HOME", dir)
	t.Setenv("XDG_CONFIG_HOME", dir)
	t.Setenv(autostart.NoAutostart, "1")
	d, err := paths.Host()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(d.State, 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := unixsock.Listen(d.Socket())
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeDaemon{answers: answers}
	server := &http.Server{Handler: http.HandlerFunc(f.serve)}
	done := make(chan struct{})
	go func() { // ends with server.Close
		server.Serve(l)
		close(done)
	}()
	t.Cleanup(func() {
		server.Close()
		<-done
	})
	return f
}

func (f *fakeDaemon) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(api.HeaderVersion, fmt.Sprintf("%d test", api.Version))
	w.Header().Set("Connection", "close")
	what := r.Method + " " + r.URL.RequestURI()
	if what == "GET "+api.ShowDaemon.Path {
		io.WriteString(w, "{}")
		return
	}
	f.mu.Lock()
	f.requests = append(f.requests, what)
	f.mu.Unlock()
	if answer := f.answers[what]; answer != nil {
		answer(w, r)
		return
	}
	answerFault(w, &api.Fault{Code: api.CodeNotFound, Message: "no such VM", Hint: "banger vm list"})
}

func (f *fakeDaemon) asked() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.requests, "\n")
}

func answerFault(w http.ResponseWriter, f *api.Fault) {
	w.WriteHeader(api.Status(f.Code))
	json.NewEncoder(w).Encode(f)
}

// lines answers with events.
func lines(text ...string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, strings.Join(text, "\n")+"\n") }
}

// result answers with a VM of that name.
func result(name string) func(http.ResponseWriter, *http.Request) {
	return lines(vmResult(name))
}

func vmResult(name string) string {
	return fmt.Sprintf(`{"result":{"id":"0123456789abcdef","name":%q,"state":"running"}}`, name)
}

// guest serves the exec port of one process as a supervisor and an agent would:
// it writes what the process writes and ends with its status.
func guest(t *testing.T, write func(w *exec.Writer), status exec.Status) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "guest")
	l, err := unixsock.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // ends with l.Close, or its one session
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		if err := serveProcess(c, write, status); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return socket
}

func serveProcess(c net.Conn, write func(w *exec.Writer), status exec.Status) error {
	r := bufio.NewReader(c)
	if _, err := http.ReadRequest(r); err != nil {
		return err
	}
	if _, err := io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: banger-stream\r\n\r\n"); err != nil {
		return err
	}
	if _, err := exec.NewReader(r).ReadRequest(); err != nil {
		return err
	}
	w := exec.NewWriter(c)
	if write != nil {
		write(w)
	}
	if status.Kind == "" {
		return nil // the stream breaks
	}
	if err := w.WriteStatus(status); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, r) // the client closes
	return err
}

// deletedVM answers that a VM is in the trash.
func deletedVM(name string) func(http.ResponseWriter, *http.Request) {
	return lines(fmt.Sprintf(`{"result":{"vm":{"id":"0123456789abcdef","name":%q},"trashed":true,"trash_bytes":3145728}}`, name))
}

// sessionAt answers where a guest is.
func sessionAt(socket string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(api.Session{ID: "0123456789abcdef", Name: "dev", Socket: socket})
	}
}
