package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"banger/internal/channel/control"
	"banger/internal/channel/flow"
	"banger/internal/channel/netflow"
	"banger/internal/hint"
	"banger/internal/vm"
)

// guestFlows answers the host's flows as an agent does, with this host's ports: a port of
// the guest's on loopback is one of this host's.
func guestFlows(f *flow.Flow) {
	r, err := netflow.Parse(f.Header())
	if err != nil || r.Kind != netflow.Listener || !r.Addr.Addr().IsLoopback() {
		f.Refuse(netflow.Refused, "not here")
		return
	}
	c, err := net.Dial("tcp", r.Addr.String())
	if err != nil {
		f.Refuse(netflow.Refused, err.Error())
		return
	}
	if f.Accept() == nil {
		flow.Join(f, c.(*net.TCPConn))
	}
}

// newTestForwards are the forwards of a run with one carrier.
func newTestForwards(t *testing.T, order Network) *forwards {
	t.Helper()
	host, guest := net.Pipe()
	here, there := flow.New(host, true, 0, func(*flow.Flow) {}), flow.New(guest, false, 0, guestFlows)
	r := &run{board: board{changed: make(chan struct{})}, log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	r.order.ID, r.order.Network = vm.NewID(), &order
	c := newCarriers()
	c.add(here)
	f := newForwards(r, c)
	f.open()
	t.Cleanup(func() {
		f.close()
		here.Close()
		there.Close()
	})
	return f
}

// echo is a server of this host's that sends back what it gets, then an end.
func echo(t *testing.T, addr string) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Skipf("listen: %v", err)
	}
	t.Cleanup(func() { l.Close() })
	go func() { // ends with l
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { // ends with c
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// freePort is one that nobody had a moment ago.
func freePort(t *testing.T, addr string) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(addr, "0"))
	if err != nil {
		t.Skipf("listen: %v", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// ask sends text to addr and returns all that comes back.
func ask(addr netip.AddrPort, text string) (string, error) {
	c, err := net.DialTimeout("tcp", addr.String(), 10*time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, text); err != nil {
		return "", err
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return "", err
	}
	out, err := io.ReadAll(c)
	return string(out), err
}

func TestForward(t *testing.T) {
	for _, family := range []string{"127.0.0.1", "::1"} {
		t.Run(family, func(t *testing.T) {
			server := echo(t, net.JoinHostPort(family, "0"))
			at := freePort(t, family)
			f := newTestForwards(t, Network{Publish: []vm.Forward{{Host: at, Guest: server.Port()}}})
			text := strings.Repeat("all of it ", 20_000)
			if got, err := ask(at, text); err != nil || got != text {
				t.Errorf("through the forward came %d bytes, %v, want %d", len(got), err, len(text))
			}
			if !f.remove(at) {
				t.Error("the forward is not there to be removed")
			}
			if _, err := ask(at, "x"); err == nil {
				t.Error("a forward that was removed answers")
			}
			if f.remove(at) {
				t.Error("the forward was removed twice")
			}
		})
	}
}

func TestForwardToNothing(t *testing.T) {
	at, closed := freePort(t, "127.0.0.1"), freePort(t, "127.0.0.1")
	newTestForwards(t, Network{Publish: []vm.Forward{{Host: at, Guest: closed.Port()}}})
	if got, err := ask(at, "x"); err == nil {
		t.Errorf("a forward to a port that is closed gives %q and an end, want a reset", got)
	}
}

func TestForwardTaken(t *testing.T) {
	taken := echo(t, "127.0.0.1:0")
	p := vm.Forward{Host: taken, Guest: 80}
	f := newTestForwards(t, Network{Publish: []vm.Forward{p}})
	s, _ := f.r.now()
	if len(s.NotForwarded) != 1 || !strings.Contains(s.NotForwarded[0], fmt.Sprintf("(pid %d)", os.Getpid())) {
		t.Errorf("the status says %q, want who has the port", s.NotForwarded)
	}
	if st := f.state(); len(st.Forwards) != 1 || st.Forwards[0].Problem == "" {
		t.Errorf("state = %+v, want the forward with its problem", st)
	}
	err := CheckForward(p)
	if err == nil || !strings.Contains(err.Error(), "in use by") || !strings.Contains(hint.Of(err), "choose another port, as "+fmt.Sprint(taken.Port()+1)+":80") {
		t.Errorf("CheckForward = %v (%s), want who has the port and what to type", err, hint.Of(err))
	}
	other := vm.Forward{Host: echo(t, "127.0.0.1:0"), Guest: 81}
	if err := f.add(other, false); err == nil {
		t.Error("a port that is taken was added")
	}
	if st := f.state(); len(st.Forwards) != 1 {
		t.Errorf("after an addition that was refused there are %+v", st.Forwards)
	}
	free := vm.Forward{Host: freePort(t, "127.0.0.1"), Guest: taken.Port()}
	for range 2 { // a repeat changes nothing
		if err := f.add(free, false); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := ask(free.Host, "hello"); err != nil || got != "hello" {
		t.Errorf("through the forward came %q, %v", got, err)
	}
	err = CheckForward(vm.Forward{Host: netip.MustParseAddrPort("192.0.2.1:8080"), Guest: 80})
	if err == nil || !strings.Contains(err.Error(), "no address 192.0.2.1") {
		t.Errorf("CheckForward of another host's address = %v", err)
	}
}

// A forward that could not be made is said until it is there, or nobody wants it any more.
func TestForwardTakenForAWhile(t *testing.T) {
	var all []vm.Forward
	var others []net.Listener
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		others, all = append(others, l), append(all, vm.Forward{Host: l.Addr().(*net.TCPAddr).AddrPort(), Guest: 80})
	}
	f := newTestForwards(t, Network{Publish: all})
	said := func(want int) {
		t.Helper()
		if s, _ := f.r.now(); len(s.NotForwarded) != want {
			t.Errorf("the status says %q, want %d lines", s.NotForwarded, want)
		}
	}
	said(2)
	if err := f.add(all[0], false); err == nil {
		t.Error("a port that is taken was added")
	}
	said(2)
	others[0].Close()
	if err := f.add(all[0], false); err != nil {
		t.Error(err)
	}
	said(1)
	f.remove(all[1].Host)
	said(0)
}

func TestPrivilegedPort(t *testing.T) {
	p := vm.Forward{Host: netip.MustParseAddrPort("127.0.0.1:80"), Guest: 80}
	err := listenError(p, &net.OpError{Err: os.NewSyscallError("bind", unix.EACCES)})
	if !strings.Contains(err.Error(), "only for root") || !strings.Contains(hint.Of(err), "as 8080:80") {
		t.Errorf("listenError = %v (%s)", err, hint.Of(err))
	}
}

func TestAutoForward(t *testing.T) {
	server := echo(t, "127.0.0.1:0")
	f := newTestForwards(t, Network{AutoForward: true})
	at := netip.AddrPortFrom(f.own, server.Port())
	many := control.Ports{}
	for i := range 100 {
		many.Listening = append(many.Listening, control.Listener{Addr: netip.AddrPortFrom(guestAddrs[0], uint16(20_000+i))})
	}
	f.hear(many)
	if got := len(f.state().Forwards); got != vm.MaxForwards {
		t.Errorf("to 100 ports there are %d forwards, want %d", got, vm.MaxForwards)
	}
	f.hear(control.Ports{Listening: []control.Listener{{Addr: server}, {Addr: netip.AddrPortFrom(guestAddrs[1], server.Port())}}})
	if got := f.state(); len(got.Forwards) != 1 {
		t.Errorf("state = %+v, want one forward", got)
	}
	if got, err := ask(at, "hello"); err != nil || got != "hello" {
		t.Errorf("at the VM's own address came %q, %v", got, err)
	}
	f.hear(control.Ports{})
	if _, err := ask(at, "x"); err == nil {
		t.Error("the forward answers although nothing listens")
	}
}

// A port of the VM's own address that another program has is had when that ends, though nothing
// changes in the guest.
func TestAutoForwardLater(t *testing.T) {
	server := echo(t, "127.0.0.1:0")
	f := newTestForwards(t, Network{AutoForward: true})
	at := netip.AddrPortFrom(f.own, server.Port())
	other, err := net.Listen("tcp", at.String())
	if err != nil {
		t.Skipf("listen: %v", err)
	}
	var log strings.Builder
	f.r.log = slog.New(slog.NewTextHandler(&log, nil))
	f.hear(control.Ports{Listening: []control.Listener{{Addr: server}}})
	f.followAgain()
	if got := f.state().Forwards; len(got) != 1 || !strings.Contains(got[0].Problem, "in use by") {
		t.Errorf("of a port that is taken there is %+v", got)
	}
	if n := strings.Count(log.String(), "in use by"); n != 1 {
		t.Errorf("two tries are logged %d times, want once:\n%s", n, log.String())
	}
	other.Close()
	f.followAgain()
	if got, err := ask(at, "hello"); err != nil || got != "hello" {
		t.Errorf("at the VM's own address came %q, %v", got, err)
	}
}

// What a guest says of its ports is not believed: an address may have a zone, in which anything
// may stand, and be none.
func TestListeners(t *testing.T) {
	strange := netip.AddrPortFrom(netip.MustParseAddr("fe80::1%\x1b[2J"), 80)
	mapped := netip.MustParseAddrPort("[::ffff:10.0.2.15]:20001")
	got := listeners(control.Ports{More: -1, Listening: []control.Listener{{Addr: strange}, {}, {Addr: netip.AddrPortFrom(guestAddrs[0], 0)}, {Addr: mapped, Process: "a\x1b", PID: -1}}})
	want := control.Ports{Listening: []control.Listener{{Addr: netip.MustParseAddrPort("[fe80::1]:80")}, {Addr: netip.MustParseAddrPort("10.0.2.15:20001"), Process: `a\x1b`}}}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Errorf("of a strange guest's ports there are (-want +got):\n%s", diff)
	}
}

// What listens in a guest is known of one without a network too.
func TestPortsWithoutNetwork(t *testing.T) {
	r := &run{board: board{changed: make(chan struct{})}, log: slog.New(slog.DiscardHandler)}
	at := netip.MustParseAddrPort("127.0.0.1:80")
	for _, want := range []int{0, 1} {
		w := httptest.NewRecorder()
		r.servePorts(w, nil)
		var got PortsState
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || len(got.Ports.Listening) != want || want == 1 && got.Ports.Listening[0].Addr != at {
			t.Errorf("it is said that %+v listen, %v, want %d", got.Ports, err, want)
		}
		r.heard(control.Event{Ports: &control.Ports{Listening: []control.Listener{{Addr: at}}}})
	}
}

func TestMayConnect(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	c := server.(*net.TCPConn)
	if err := mayConnect(c, os.Getuid()); err != nil {
		t.Errorf("a connection of this user: %v", err)
	}
	if err := mayConnect(c, os.Getuid()+1); err == nil || !strings.Contains(err.Error(), "of user") {
		t.Errorf("a connection of another user: %v, want an error", err)
	}
	client.Close()
	if err := mayConnect(c, os.Getuid()); err == nil {
		t.Error("a connection whose owner can't be told may connect")
	}
}

// TestForwardsEnd closes forwards while connections wait for a carrier, and for bytes.
func TestForwardsEnd(t *testing.T) {
	server := echo(t, "127.0.0.1:0")
	at := freePort(t, "127.0.0.1")
	f := newTestForwards(t, Network{Publish: []vm.Forward{{Host: at, Guest: server.Port()}}})
	c, err := net.Dial("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	f.carriers.mu.Lock()
	f.carriers.live = nil
	f.carriers.mu.Unlock()
	waiting, err := net.Dial("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	f.close()
	for _, c := range []net.Conn{c, waiting} {
		c.SetDeadline(time.Now().Add(20 * time.Second))
		if n, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) || err == io.EOF {
			t.Errorf("after the end of the forwards a read gives %d bytes, %v, want a reset", n, err)
		}
	}
	if err := f.add(vm.Forward{Host: at, Guest: 1}, false); err == nil {
		t.Error("a forward was added after the end")
	}
}
