package supervisor

import (
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"banger/internal/session"
	"banger/internal/unixsock"
	"banger/internal/vmm"
)

// typed is a machine whose console takes keys.
type typed struct {
	vmm.Machine
	keys net.Conn
}

func (m typed) Keys() vmm.Keys { return m.keys }

// What a client types arrives at the VMM, what the console shows from then on goes
// back, and the log's end is the client's.
func TestKeys(t *testing.T) {
	dir := t.TempDir()
	log, err := openConsoleLog(filepath.Join(dir, "console.log"))
	if err != nil {
		t.Fatal(err)
	}
	log.Write([]byte("before "))
	ours, theirs := net.Pipe()
	defer ours.Close()
	r := &run{console: log}
	socket := filepath.Join(dir, "s")
	l, err := unixsock.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(r.serveKeys)}
	done := make(chan struct{})
	go func() { // ends with server
		defer close(done)
		server.Serve(l)
	}()
	defer func() { server.Close(); <-done }()
	if _, err := session.DialConsole(t.Context(), socket); err == nil {
		t.Error("DialConsole without a machine was not refused")
	}
	var m vmm.Machine = typed{keys: theirs}
	r.machine.Store(&m)
	c, err := session.DialConsole(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "ls\r"); err != nil {
		t.Fatal(err)
	}
	ours.SetDeadline(time.Now().Add(20 * time.Second))
	got := make([]byte, 3)
	if _, err := io.ReadFull(ours, got); err != nil || string(got) != "ls\r" {
		t.Errorf("%q was typed, %v; want ls", got, err)
	}
	log.Write([]byte("after"))
	log.Close()
	if text, err := io.ReadAll(c); err != nil || string(text) != "after" {
		t.Errorf("the console showed %q, %v; want what came after the client", text, err)
	}
}
