package dial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// listen starts a server on addr that ends with the test, and returns its address.
func listen(t *testing.T, addr string, serve func(net.Conn)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	wg.Go(func() { // ends when the listener is closed
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			wg.Go(func() { // ends when its connection is closed
				defer c.Close()
				serve(c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// backwards reads until the peer's end and sends all of it back with a mark: an
// answer that needs a half-close.
func backwards(c net.Conn) {
	b, err := io.ReadAll(c)
	if err == nil {
		fmt.Fprintf(c, "got %s", b)
	}
}

// talk checks that c is a connection to backwards, with both ends apart.
func talk(t *testing.T, c Conn) {
	t.Helper()
	defer c.Close()
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(c); err != nil || string(b) != "got hello" {
		t.Errorf("the peer sends %q, %v, want %q", b, err, "got hello")
	}
}

// free returns a port of loopback that nobody listens on.
func free(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func TestAddress(t *testing.T) {
	ap := listen(t, "127.0.0.1:0", backwards)
	d := &Dialer{}
	for _, a := range []netip.AddrPort{ap, netip.AddrPortFrom(netip.AddrFrom16(ap.Addr().As16()), ap.Port())} {
		c, err := d.Address(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		talk(t, c)
	}
	if _, err := d.Address(t.Context(), free(t)); ReasonOf(err) != Refused {
		t.Errorf("Address of a closed port: %v (%v), want refused", err, ReasonOf(err))
	}
	if _, err := d.Address(t.Context(), netip.AddrPort{}); err == nil {
		t.Error("Address of nothing: no error")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Address(ctx, ap); ReasonOf(err) != Cancelled {
		t.Errorf("Address with a cancelled context: %v (%v), want cancelled", err, ReasonOf(err))
	}
}

func TestReasons(t *testing.T) {
	ctx := t.Context()
	over, cancel := context.WithTimeout(ctx, 0)
	defer cancel()
	rows := []struct {
		ctx  context.Context
		err  error
		want Reason
	}{
		{ctx, syscall.ECONNREFUSED, Refused}, {ctx, syscall.ECONNRESET, Reset}, {ctx, syscall.ETIMEDOUT, TimedOut},
		{ctx, syscall.ENETUNREACH, NoRoute}, {ctx, syscall.EHOSTUNREACH, NoRoute}, {ctx, syscall.EADDRNOTAVAIL, NoRoute},
		{ctx, syscall.EACCES, NoRoute}, {ctx, context.DeadlineExceeded, TimedOut}, {over, errors.New("i/o"), TimedOut},
		{ctx, context.Canceled, Cancelled}, {ctx, io.EOF, Reset}, {ctx, syscall.ENOSPC, Other},
	}
	for _, row := range rows {
		err := failure(row.ctx, fmt.Errorf("connect: %w", row.err))
		if ReasonOf(err) != row.want || !errors.Is(err, row.err) {
			t.Errorf("the reason of %v is %v, want %v", row.err, ReasonOf(err), row.want)
		}
	}
	if ReasonOf(errors.New("x")) != Other || ReasonOf(nil) != Other || Reason(99).String() != "reason 99" {
		t.Error("ReasonOf of others' errors is Other")
	}
	for r := Other; r <= Cancelled; r++ {
		if strings.HasPrefix(r.String(), "reason ") {
			t.Errorf("reason %d has no text", int(r))
		}
	}
}

func addrs(text ...string) (out []netip.Addr) {
	for _, a := range text {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func TestInterleave(t *testing.T) {
	rows := []struct{ in, want string }{
		{"", "[]"},
		{"192.0.2.1 192.0.2.2 2001:db8::1 192.0.2.1 ::ffff:192.0.2.2 2001:db8::2 2001:db8::3", "[2001:db8::1 192.0.2.1 2001:db8::2 192.0.2.2 2001:db8::3]"},
		{"192.0.2.1 192.0.2.2", "[192.0.2.1 192.0.2.2]"},
	}
	for _, row := range rows {
		if got := fmt.Sprint(interleave(addrs(strings.Fields(row.in)...))); got != row.want {
			t.Errorf("interleave(%s) = %s, want %s", row.in, got, row.want)
		}
	}
	var many []netip.Addr
	for i := range 100 {
		many = append(many, netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}))
	}
	if got := interleave(many); len(got) != maxAttempts {
		t.Errorf("interleave of 100 = %d, want %d", len(got), maxAttempts)
	}
}

func TestName(t *testing.T) {
	ap := listen(t, "127.0.0.1:0", backwards)
	d := &Dialer{}
	// Nobody listens on the first two.
	c, err := d.Name(t.Context(), "example.org", ap.Port(), addrs("127.0.0.9", "127.0.0.3", "127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	talk(t, c)
	_, err = d.Name(t.Context(), "example.org", ap.Port(), addrs("127.0.0.9", "127.0.0.3"))
	if ReasonOf(err) != Refused || !strings.Contains(err.Error(), "127.0.0.9") || !strings.Contains(err.Error(), "127.0.0.3") || strings.Contains(err.Error(), "\n") {
		t.Errorf("Name without an address that answers: %v (%v), want refused, with each address", err, ReasonOf(err))
	}
	if _, err := d.Name(t.Context(), "example.org", ap.Port(), nil); ReasonOf(err) != NoRoute {
		t.Errorf("Name without addresses: %v (%v), want no route", err, ReasonOf(err))
	}
}

// full returns the address of a listener on ip that takes no more: a connect waits.
// Port 0 is any.
func full(t *testing.T, ip string, port uint16) netip.AddrPort {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: netip.MustParseAddr(ip).As4(), Port: int(port)}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	ap := netip.AddrPortFrom(netip.MustParseAddr(ip), uint16(sa.(*syscall.SockaddrInet4).Port))
	for range 16 { // the backlog is full once a connect waits
		c, err := net.DialTimeout("tcp", ap.String(), 200*time.Millisecond)
		if err != nil {
			return ap
		}
		t.Cleanup(func() { c.Close() })
	}
	t.Fatal("the listener takes any number of connections")
	return ap
}

func TestNamePassesOverSilentAddresses(t *testing.T) {
	silent := full(t, "127.0.0.2", 0)
	full(t, "127.0.0.3", silent.Port())
	ap := listen(t, fmt.Sprintf("127.0.0.1:%d", silent.Port()), backwards)
	d := &Dialer{}
	start := time.Now()
	c, err := d.Name(t.Context(), "example.org", ap.Port(), addrs("127.0.0.2", "127.0.0.3", "127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < 2*attemptDelay {
		t.Errorf("the third address was tried after %v, want after %v", took, 2*attemptDelay)
	}
	talk(t, c)
	short := &Dialer{Limit: 300 * time.Millisecond}
	if _, err := short.Address(t.Context(), silent); ReasonOf(err) != TimedOut {
		t.Errorf("Address of a silent peer: %v (%v), want timed out", err, ReasonOf(err))
	}
	if _, err := short.Name(t.Context(), "example.org", silent.Port(), addrs("127.0.0.2")); ReasonOf(err) != TimedOut {
		t.Errorf("Name of a silent peer: %v (%v), want timed out", err, ReasonOf(err))
	}
}
