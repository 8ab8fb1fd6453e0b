package resolver

import (
	"bufio"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/net/dns/dnsmessage"
)

// bus starts a message bus of the test's own and returns its address.
func bus(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("dbus-daemon")
	if err != nil {
		t.Skip("no dbus-daemon on this host: systemd-resolved's interface is not tested")
	}
	dir := t.TempDir()
	address := "unix:path=" + filepath.Join(dir, "bus")
	config := filepath.Join(dir, "bus.conf")
	write(t, config, `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><listen>`+address+`</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*" eavesdrop="true"/><allow receive_sender="*"/></policy></busconfig>`)
	cmd := exec.Command(program, "--config-file="+config, "--nofork", "--nopidfile", "--print-address")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil { // it listens then
		t.Fatalf("read dbus-daemon's address: %v", err)
	}
	return address
}

// manager is org.freedesktop.resolve1.Manager, as far as it is asked.
type manager struct {
	calls atomic.Int32
	last  atomic.Value  // what was asked: name and type
	held  chan struct{} // answers for held.example.org wait until it is closed
}

type busRecord struct {
	Interface   int32
	Class, Type uint16
	Data        []byte
}

func (m *manager) ResolveRecord(_ int32, name string, class, typ uint16, _ uint64) ([]busRecord, uint64, *dbus.Error) {
	m.calls.Add(1)
	m.last.Store(name + " " + typeName(Type(typ)))
	fail := func(name string) ([]busRecord, uint64, *dbus.Error) {
		return nil, 0, dbus.NewError(name, []any{"'" + name + "'"})
	}
	var records []dnsmessage.Resource
	switch name {
	case "held.example.org":
		<-m.held
		records = []dnsmessage.Resource{record("held.example.org.", 77, "A", "192.0.2.4")}
	case "example.org":
		records = []dnsmessage.Resource{record("example.org.", 77, "A", "192.0.2.1"), record("example.org.", 77, "A", "192.0.2.2")}
	case "www.example.org":
		records = []dnsmessage.Resource{record("CDN.example.net.", 50, "A", "192.0.2.3")}
	case "text.example.org":
		records = []dnsmessage.Resource{record("text.example.org.", 50, "TXT", "v=1")}
	case "bad.example.org":
		return []busRecord{{0, class, typ, []byte{1, 2, 3}}}, 0, nil
	case "empty.example.org":
		return fail("org.freedesktop.resolve1.NoSuchRR")
	case "down.example.org":
		return fail("org.freedesktop.resolve1.NoNameServers")
	default:
		return fail("org.freedesktop.resolve1.DnsError.NXDOMAIN")
	}
	var out []busRecord
	for _, r := range records {
		out = append(out, busRecord{0, class, typ, wireRecord(r)})
	}
	return out, 0, nil
}

// wireRecord is one record in wire format, without a message around it.
func wireRecord(r dnsmessage.Resource) []byte {
	m := dnsmessage.Message{Answers: []dnsmessage.Resource{r}}
	out, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return out[headerSize:]
}

// runManager puts a manager on the bus, for as long as the connection lives.
func runManager(t *testing.T, address string) (*manager, *dbus.Conn) {
	t.Helper()
	conn, err := dbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	m := &manager{held: make(chan struct{})}
	if err := conn.Export(m, resolvedPath, resolvedName+".Manager"); err != nil {
		t.Fatal(err)
	}
	if r, err := conn.RequestName(resolvedName, dbus.NameFlagDoNotQueue); err != nil || r != dbus.RequestNameReplyPrimaryOwner {
		t.Fatalf("RequestName = %v, %v", r, err)
	}
	return m, conn
}

func TestHostAsksResolved(t *testing.T) {
	address := bus(t)
	s := serve(t, zone(record("files.example.org.", 9, "A", "192.0.2.99")))
	h := host(t, s, "nameserver 127.0.0.1\n", "")
	h.Bus = address
	check := func(name string, typ Type, want string) {
		t.Helper()
		res, err := h.Lookup(t.Context(), name, typ)
		got := lines(res)
		switch {
		case err != nil:
			got = "error"
		case res.Code == dnsmessage.RCodeNameError:
			got = "name error"
		}
		if got != want {
			t.Errorf("Lookup(%q, %s) = %q, %v, want %q", name, typeName(typ), got, err, want)
		}
	}
	check("files.example.org", dnsmessage.TypeA, "files.example.org. A 192.0.2.99") // a bus without it
	m, conn := runManager(t, address)
	check("example.org", dnsmessage.TypeA, "example.org. A 192.0.2.1\nexample.org. A 192.0.2.2")
	check("www.Example.org", dnsmessage.TypeA, "www.example.org. CNAME CDN.example.net.\nCDN.example.net. A 192.0.2.3")
	check("text.example.org", dnsmessage.TypeTXT, "text.example.org. TXT v=1")
	check("empty.example.org", dnsmessage.TypeA, "")
	check("missing.example.org", dnsmessage.TypeA, "name error")
	check("down.example.org", dnsmessage.TypeA, "error")
	check("bad.example.org", dnsmessage.TypeA, "error")
	if got := m.last.Load(); got != "bad.example.org A" {
		t.Errorf("the last call was for %q, want bad.example.org A", got)
	}
	if res, _ := h.Lookup(t.Context(), "www.example.org", dnsmessage.TypeA); res.TTL.Seconds() != 50 {
		t.Errorf("TTL = %v, want 50 s", res.TTL)
	}
	before := s.count()
	conn.Close() // it is stopped: from now on the files count
	check("files.example.org", dnsmessage.TypeA, "files.example.org. A 192.0.2.99")
	if s.count() == before {
		t.Error("the server of resolv.conf was not asked after resolved's end")
	}
	second, _ := runManager(t, address)
	check("example.org", dnsmessage.TypeA, "example.org. A 192.0.2.1\nexample.org. A 192.0.2.2")
	h.broker.drop(h.broker.conn) // as a bus that was restarted
	check("example.org", dnsmessage.TypeA, "example.org. A 192.0.2.1\nexample.org. A 192.0.2.2")
	if second.calls.Load() != 2 {
		t.Errorf("the second resolved was called %d times, want 2", second.calls.Load())
	}
}

// More questions at once than the bus lets one connection have (128, max_replies_per_connection in
// dbus-daemon(1)) wait for their turn.
func TestHostAsksResolvedMuch(t *testing.T) {
	address := bus(t)
	h := host(t, serve(t, zone()), "nameserver 127.0.0.1\n", "")
	h.Bus = address
	m, _ := runManager(t, address)
	var asking sync.WaitGroup
	var failed atomic.Int32
	for range 300 {
		asking.Go(func() {
			res, err := h.Lookup(t.Context(), "held.example.org", dnsmessage.TypeA)
			if err != nil || len(res.Records) != 1 {
				if failed.Add(1) == 1 {
					t.Errorf("Lookup = %q, %v", lines(res), err)
				}
			}
		})
	}
	for m.calls.Load() < maxCalls {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(50 * time.Millisecond) // time for one too many
	close(m.held)
	asking.Wait()
	if n := failed.Load(); n > 0 {
		t.Errorf("%d of 300 questions have no answer", n)
	}
}

// Names that systemd-resolved does not come to an answer of don't use up what the bus lets one
// connection have.
func TestHostAsksResolvedInVain(t *testing.T) {
	address := bus(t)
	h := host(t, serve(t, zone()), "nameserver 127.0.0.1\n", "")
	h.Bus = address
	m, _ := runManager(t, address)
	defer close(m.held)
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		var asking sync.WaitGroup
		for range maxCalls {
			asking.Go(func() { h.Lookup(ctx, "held.example.org", dnsmessage.TypeA) })
		}
		asking.Wait()
		cancel()
		res, err := h.Lookup(t.Context(), "example.org", dnsmessage.TypeA)
		if err != nil || len(res.Records) != 2 {
			t.Fatalf("Lookup = %q, %v", lines(res), err)
		}
	}
}

func TestHostLeavesABusThatHangs(t *testing.T) {
	t.Parallel() // it takes the limit's 2 s
	path := filepath.Join(t.TempDir(), "bus")
	l, err := net.Listen("unix", path) // accepts nobody, as a bus that is stopped
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := serve(t, zone(record("example.org.", 9, "A", "192.0.2.1")))
	h := host(t, s, "nameserver 127.0.0.1\n", "")
	h.Bus = "unix:path=" + path
	for range 3 { // the second does not wait for the bus again
		res, err := h.Lookup(t.Context(), "example.org", dnsmessage.TypeA)
		if err != nil || !strings.Contains(lines(res), "192.0.2.1") {
			t.Errorf("Lookup = %q, %v, want the server's answer", lines(res), err)
		}
	}
	if h.broker.hung.IsZero() {
		t.Error("a bus that hangs is not left alone")
	}
}
