package supervisor

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"banger/internal/network/dial"
	"banger/internal/paths"
	"banger/internal/unixsock"
	"banger/internal/vm"
)

// runsAs makes a run that has f answer at the socket of a VM in dir; end ends it.
func runsAs(t *testing.T, f *forwards, name, dir string) (end func()) {
	t.Helper()
	r := f.r
	r.order.Name, r.order.Dir = name, filepath.Join(dir, string(r.order.ID))
	if err := os.MkdirAll(RunDir(r.order.Dir), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := WriteOrder(r.order); err != nil {
		t.Fatal(err)
	}
	named(t, r.order.Dir, name)
	r.network.Store(&network{forwards: f})
	r.update(func(s *Status) { s.Phase = Ready })
	l, err := unixsock.Listen(SocketPath(r.order.Dir))
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: r.handler(), ConnContext: refuseOthers}
	go s.Serve(l) // ends with end
	end = func() {
		s.Close()
		f.end()
	}
	t.Cleanup(end)
	return end
}

// named gives the VM in dir that name, as bangerd does by its record.
func named(t *testing.T, dir, name string) {
	t.Helper()
	text, err := json.Marshal(vm.Record{Spec: vm.Spec{Name: name}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, paths.RecordFile), text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A name is the VM's that has it now, not one's that had it at its last start.
func TestOthersRenamed(t *testing.T) {
	dir := t.TempDir()
	server := echo(t, "127.0.0.1:0")
	f := newTestForwards(t, Network{})
	runsAs(t, f, "b", dir)
	before := Order{Name: "b"}
	before.ID, before.Dir = vm.NewID(), filepath.Join(dir, "0") // it comes first, and does not run
	if err := os.MkdirAll(before.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := WriteOrder(before); err != nil {
		t.Fatal(err)
	}
	named(t, before.Dir, "was-b")

	o := &others{dir: dir}
	t.Cleanup(o.close)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	connects := func(name string) error {
		c, err := o.Connect(ctx, name+".vm", server.Port())
		if err == nil {
			c.Close()
		}
		return err
	}
	if err := connects("b"); err != nil {
		t.Errorf("connect to b, whose name another VM had: %v", err)
	}
	named(t, f.r.order.Dir, "c")
	if err := connects("b"); err == nil || !strings.Contains(err.Error(), `no VM "b" runs`) {
		t.Errorf("connect to b, which is c now: %v, want that no VM is called so", err)
	}
	if err := connects("c"); err != nil {
		t.Errorf("connect to c, which was b: %v", err)
	}
	if got := f.r.name(); got != "c" {
		t.Errorf("the VM's own supervisor calls it %q, want c", got)
	}
}

func TestOthers(t *testing.T) {
	dir := t.TempDir()
	server, closed := echo(t, "127.0.0.1:0"), freePort(t, "127.0.0.1")
	end := runsAs(t, newTestForwards(t, Network{}), "b", dir)
	// One that does not run, one that is damaged, and a file lie beside it.
	if err := os.MkdirAll(filepath.Join(dir, "broken"), 0o700); err != nil {
		t.Fatal(err)
	}
	os.WriteFile(filepath.Join(dir, "broken", paths.RecordFile), []byte("{"), 0o600)
	os.WriteFile(filepath.Join(dir, "file"), nil, 0o600)
	stopped := Order{Name: "stopped"}
	stopped.ID = vm.NewID()
	stopped.Dir = filepath.Join(dir, string(stopped.ID))
	if err := os.MkdirAll(stopped.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := WriteOrder(stopped); err != nil {
		t.Fatal(err)
	}
	named(t, stopped.Dir, stopped.Name)

	o := &others{dir: dir}
	t.Cleanup(o.close)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	text := strings.Repeat("all of it ", 200_000)
	carry := func(name string, to netip.AddrPort) (string, error) {
		c, err := o.Connect(ctx, name, to.Port())
		if err != nil {
			return "", err
		}
		defer c.Close()
		go func() { // ends with c
			io.WriteString(c, text)
			c.CloseWrite()
		}()
		got, err := io.ReadAll(struct{ io.Reader }{c})
		return string(got), err
	}
	for range 3 {
		if got, err := carry("b.vm", server); err != nil || got != text {
			t.Errorf("from the other VM came %d bytes, %v, want %d", len(got), err, len(text))
		}
	}
	if len(o.sessions) != 1 {
		t.Errorf("there are %d sessions, want 1", len(o.sessions))
	}
	for _, tt := range []struct {
		name string
		to   netip.AddrPort
		want string
	}{
		{"b.vm", closed, "port "},
		{"c.vm", server, `no VM "c" runs`},
		{"stopped.vm", server, `VM "stopped" does not run`},
	} {
		if _, err := carry(tt.name, tt.to); dial.ReasonOf(err) != dial.Refused || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s:%d: %v, want a refusal with %q", tt.name, tt.to.Port(), err, tt.want)
		}
	}

	if err := o.Takes(ctx, "b.vm"); err != nil {
		t.Errorf("a VM that runs takes no connections: %v", err)
	}
	for _, name := range []string{"c", "stopped"} {
		if err := o.Takes(ctx, name+".vm"); err == nil || !strings.Contains(err.Error(), `"`+name+`"`) {
			t.Errorf("%s.vm takes connections, or says otherwise: %v", name, err)
		}
	}

	// The other VM's end is a reset, and another run of that name is found.
	c, err := o.Connect(ctx, "b.vm", server.Port())
	if err != nil {
		t.Fatal(err)
	}
	end()
	if got, err := io.ReadAll(struct{ io.Reader }{c}); err == nil {
		t.Errorf("after the other VM's end %q came, and an end", got)
	}
	if _, err := carry("b.vm", server); dial.ReasonOf(err) != dial.Refused {
		t.Errorf("a VM that has ended: %v, want a refusal", err)
	}
	os.RemoveAll(filepath.Join(dir, "broken"))
	for _, d := range o.dirs(t) {
		os.RemoveAll(d)
	}
	runsAs(t, newTestForwards(t, Network{}), "b", dir)
	if got, err := carry("b.vm", server); err != nil || got != text {
		t.Errorf("from the next run came %d bytes, %v, want %d", len(got), err, len(text))
	}

	// A VM that ends keeps none of its connections, and makes no more.
	if c, err = o.Connect(ctx, "b.vm", server.Port()); err != nil {
		t.Fatal(err)
	}
	o.close()
	if _, err := c.Write([]byte("x")); err == nil {
		t.Error("a connection outlives its VM")
	}
	if _, err := carry("b.vm", server); err == nil {
		t.Error("a VM that has ended connects")
	}
}

// dirs are those of all VMs.
func (o *others) dirs(t *testing.T) (out []string) {
	t.Helper()
	entries, err := os.ReadDir(o.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		out = append(out, filepath.Join(o.dir, e.Name()))
	}
	return out
}
