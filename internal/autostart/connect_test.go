package autostart

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/api"
	"banger/internal/hint"
	"banger/internal/paths"
	"banger/internal/unixsock"
)

// serve answers on socket with handle, as a daemon of this version.
func serve(t *testing.T, socket string, handle http.HandlerFunc) {
	t.Helper()
	l, err := unixsock.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(api.HeaderVersion, fmt.Sprintf("%d test", api.Version))
		w.Header().Set("Connection", "close")
		handle(w, r)
	})}
	done := make(chan struct{})
	go func() { // ends with server.Close
		server.Serve(l)
		close(done)
	}()
	t.Cleanup(func() {
		server.Close()
		<-done
	})
}

// hold writes the lock file and holds its lock.
func hold(t *testing.T, o Options, l api.Lock) {
	t.Helper()
	f, err := os.Create(o.Dirs.Lock())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := json.NewEncoder(f).Encode(l); err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
}

// never is a bangerd that must not be started.
func never(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "started")
	program(t, "touch "+mark+"; exit 1")
	t.Cleanup(func() {
		if _, err := os.Stat(mark); err == nil {
			t.Error("bangerd was started, want it left alone")
		}
	})
}

func TestConnect(t *testing.T) {
	never(t)
	o := fresh(t)
	serve(t, o.Dirs.Socket(), func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"pid":7}`) })
	c, err := Connect(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := c.ShowDaemon(t.Context()); err != nil || d.PID != 7 {
		t.Errorf("ShowDaemon = %+v, %v; want pid 7", d, err)
	}
}

// A fault is an answer: the daemon lives, and the command's own call says more.
func TestConnectFault(t *testing.T) {
	never(t)
	o := fresh(t)
	serve(t, o.Dirs.Socket(), func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	if _, err := Connect(t.Context(), o); err != nil {
		t.Errorf("Connect = %v, want a client", err)
	}
}

// The state directory is found through a link to it, and by its lock when the
// daemon listens elsewhere.
func TestConnectElsewhere(t *testing.T) {
	never(t)
	o := fresh(t)
	socket := filepath.Join(t.TempDir(), "s")
	serve(t, socket, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{}`) })
	hold(t, o, api.Lock{PID: os.Getpid(), Socket: socket})
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(o.Dirs.State, link); err != nil {
		t.Fatal(err)
	}
	o.Dirs.State = link
	if _, err := Connect(t.Context(), o); err != nil {
		t.Errorf("Connect = %v, want a client", err)
	}
}

// A daemon that does not answer is named by its pid; it is not ended, and no
// other one is started.
func TestSilentDaemon(t *testing.T) {
	for _, locked := range []bool{true, false} {
		never(t)
		o := fresh(t)
		over := make(chan struct{})
		serve(t, o.Dirs.Socket(), func(http.ResponseWriter, *http.Request) { <-over })
		t.Cleanup(func() { close(over) })
		want := "fuser"
		if locked {
			hold(t, o, api.Lock{PID: 4242, Version: "1.0"})
			want = "kill -9 4242"
		}
		o.pingLimit = 50 * time.Millisecond
		_, err := Connect(t.Context(), o)
		if err == nil || !strings.Contains(err.Error(), "does not answer") || !strings.Contains(hint.Of(err), want) {
			t.Errorf("Connect = %v, hint %q; want a daemon that does not answer, and %q", err, hint.Of(err), want)
		}
	}
}

// A bangerd that can't start because another one holds the lock names that one.
func TestLockIsHeld(t *testing.T) {
	program(t, `echo "error: the lock is held" >&3`)
	o := fresh(t)
	hold(t, o, api.Lock{PID: 4242})
	if _, err := Connect(t.Context(), o); err == nil || !strings.Contains(hint.Of(err), "pid 4242") {
		t.Errorf("Connect = %v, hint %q; want the holder's pid", err, hint.Of(err))
	}
}

func TestNoAutostart(t *testing.T) {
	never(t)
	t.Setenv(NoAutostart, "1")
	_, err := Connect(t.Context(), fresh(t))
	if !errors.Is(err, api.ErrNoDaemon) || !strings.Contains(hint.Of(err), NoAutostart) {
		t.Errorf("Connect = %v, hint %q; want ErrNoDaemon and %s named", err, hint.Of(err), NoAutostart)
	}
}

func TestReadLock(t *testing.T) {
	o := fresh(t)
	if l, held := ReadLock(o.Dirs.Lock()); held {
		t.Errorf("ReadLock without a file = %+v, held", l)
	}
	want := api.Lock{PID: 7, Version: "v", Socket: "/s"}
	hold(t, o, want)
	if l, held := ReadLock(o.Dirs.Lock()); !held || l != want {
		t.Errorf("ReadLock = %+v, %v; want %+v, held", l, held, want)
	}
	for text, held := range map[string]bool{"": true, "{": true, `{"pid":"x"}`: true} {
		if err := os.WriteFile(o.Dirs.Lock(), []byte(text), 0o600); err != nil { // the same file, still locked
			t.Fatal(err)
		}
		if l, got := ReadLock(o.Dirs.Lock()); got != held || l != (api.Lock{}) {
			t.Errorf("ReadLock of %q = %+v, %v; want nothing, %v", text, l, got, held)
		}
	}
	// A dead daemon's text is nobody's.
	dead := fresh(t)
	if err := os.WriteFile(dead.Dirs.Lock(), []byte(`{"pid":7}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if l, held := ReadLock(dead.Dirs.Lock()); held || l.PID != 0 {
		t.Errorf("ReadLock of a lock that nobody holds = %+v, %v", l, held)
	}
}

// A state directory of another user is refused by name: root in a user's
// environment would take over the user's VMs.
func TestOwner(t *testing.T) {
	never(t)
	o := fresh(t)
	if err := CheckOwner(o.Dirs.State); err != nil {
		t.Errorf("CheckOwner of our own directory = %v", err)
	}
	if err := CheckOwner(filepath.Join(o.Dirs.State, "none")); err != nil {
		t.Errorf("CheckOwner of no directory = %v", err)
	}
	if os.Getuid() != 0 {
		o.Dirs.State = "/proc/1" // root's
	} else if err := os.Chown(o.Dirs.State, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	_, err := Connect(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), o.Dirs.State) || !strings.Contains(err.Error(), "belongs to") || !strings.Contains(err.Error(), paths.From("XDG_STATE_HOME")) || !strings.Contains(hint.Of(err), "run banger as ") {
		t.Errorf("Connect with another user's state = %v, hint %q; want the directory and the user to be", err, hint.Of(err))
	}
}
