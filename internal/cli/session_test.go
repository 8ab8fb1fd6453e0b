package cli

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"banger/internal/api"
	"banger/internal/channel"
	"banger/internal/unixsock"
)

// A guest that does not answer is said so within five seconds; here the daemon
// knows nothing of it.
func TestC57SilentGuest(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := unixsock.Listen(socket) // connections wait in its queue
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, o := newApp(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error)
	go func() { // ends with ctx
		_, err := a.dialGuest(ctx, api.NewClient(filepath.Join(t.TempDir(), "none")), api.Session{Name: "dev", Socket: socket}, channel.PortExec)
		done <- err
	}()
	const want = "VM dev does not answer yet: its guest is very busy, or its agent hangs"
	for begin := time.Now(); !strings.Contains(o.stderr(), want); time.Sleep(10 * time.Millisecond) {
		if time.Since(begin) > 20*time.Second {
			t.Fatalf("stderr has %q, want %q in it", o.stderr(), want)
		}
	}
	cancel()
	if err := <-done; err == nil {
		t.Error("dialGuest found a guest")
	}
}

func TestC57Silence(t *testing.T) {
	for want, v := range map[string]api.VM{
		"": {Operation: "stop"},
		"the VMM holds it still: the disk is full": {Held: "the disk is full"},
		"its supervisor does not answer since ":    {SilentSince: time.Now()},
		"its agent is gone since ":                 {AgentGoneSince: time.Now()},
	} {
		if got := silence(v); !strings.HasPrefix(got, want) || (want == "") != (got == "") {
			t.Errorf("silence(%+v) = %q, want %q", v, got, want)
		}
	}
}
