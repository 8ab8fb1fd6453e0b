package channel

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair is a connected pair of Unix sockets, as QEMU and the supervisor have.
func pair(t testing.TB) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		out[i] = c.(*net.UnixConn)
	}
	t.Cleanup(func() { out[0].Close(); out[1].Close() })
	return out[0], out[1]
}

type ends struct {
	carrier *SerialCarrier
	guest   *SerialGuest
	lines   [2]Line // the host's
}

func connect(t testing.TB) ends {
	t.Helper()
	c1, c2 := pair(t)
	s1, s2 := pair(t)
	e := ends{NewSerialCarrier(c1, s1), NewSerialGuest(c2, s2), [2]Line{c1, s1}}
	t.Cleanup(func() {
		e.carrier.Close()
		e.guest.Close()
	})
	return e
}

func limited(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// echo serves a port with do until the guest is closed.
func echo(t testing.TB, g *SerialGuest, port uint32, do func(net.Conn)) {
	t.Helper()
	l, err := g.Listen(port)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { // ends with the guest
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { // ends with the stream
				defer c.Close()
				do(c)
			})
		}
	})
	t.Cleanup(wg.Wait)
	t.Cleanup(func() { g.Close() })
}

func copyBack(c net.Conn) { io.Copy(c, c) }

func roundTrip(t testing.TB, c Carrier, port uint32, word string) {
	t.Helper()
	s, err := c.Dial(limited(t), port)
	if err != nil {
		t.Fatalf("Dial(%d): %v", port, err)
	}
	defer s.Close()
	if _, err := s.Write([]byte(word)); err != nil {
		t.Fatalf("write to port %d: %v", port, err)
	}
	got := make([]byte, len(word))
	if _, err := io.ReadFull(s, got); err != nil || string(got) != word {
		t.Fatalf("port %d gave %q, %v; want %q", port, got, err, word)
	}
}

func TestHelloIsPushedAndOnce(t *testing.T) {
	e := connect(t)
	got := make(chan Hello, 1)
	go func() { // ends with the hello
		h, err := e.carrier.Hello(limited(t))
		if err != nil {
			t.Error(err)
		}
		got <- h
	}()
	select {
	case h := <-got:
		t.Fatalf("hello %+v before the guest said it", h)
	case <-time.After(50 * time.Millisecond):
	}
	want := Hello{Protocol: Protocol, Agent: "a", Kernel: "k"}
	e.guest.Hello(context.Background(), want)
	if h := <-got; h != want {
		t.Errorf("Hello = %+v, want %+v", h, want)
	}
	e.guest.Hello(context.Background(), Hello{Protocol: 99})
	if h, err := e.carrier.Hello(limited(t)); err != nil || h != want {
		t.Errorf("the second Hello = %+v, %v; want the first one's", h, err)
	}
}

func TestHelloGivesUp(t *testing.T) {
	c1, _ := pair(t)
	s1, _ := pair(t)
	c := NewSerialCarrier(c1, s1)
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Hello(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Hello of a silent guest: %v, want the deadline", err)
	}
}

func TestBytesBothWays(t *testing.T) {
	e := connect(t)
	echo(t, e.guest, PortExec, copyBack)
	data := make([]byte, 8<<20)
	rand.Read(data)
	s, err := e.carrier.Dial(limited(t), PortExec)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	go func() { // ends when all is written
		s.Write(data)
		s.CloseWrite()
	}()
	got, err := io.ReadAll(s)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("got %d bytes back, %v; want the same %d", len(got), err, len(data))
	}
	if _, err := e.carrier.Dial(limited(t), 77); err == nil {
		t.Error("Dial of a port that nobody serves: no error")
	}
}

// All streams that fit are stalled in both directions; control answers, and a
// new one opens as soon as one ends.
func TestStalledStreamsStopNothing(t *testing.T) {
	e := connect(t)
	never := make(chan struct{})
	t.Cleanup(func() { close(never) })
	echo(t, e.guest, PortControl, copyBack)
	echo(t, e.guest, PortExec, copyBack)
	echo(t, e.guest, PortSSH, func(c net.Conn) {
		// Writes until the host's window is full, reads nothing.
		c.Write(make([]byte, 4*streamWindow))
	})
	var open []Stream
	var writing sync.WaitGroup
	for range maxStreams - 1 {
		s, err := e.carrier.Dial(limited(t), PortSSH)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, s)
		writing.Go(func() { s.Write(make([]byte, 4*streamWindow)) }) // ends with s
	}
	time.Sleep(500 * time.Millisecond) // for the windows to fill; too short proves less, and fails nothing
	roundTrip(t, e.carrier, PortControl, "control")
	roundTrip(t, e.carrier, PortExec, "exec")
	last, err := e.carrier.Dial(limited(t), PortSSH)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.carrier.Dial(limited(t), PortExec); !errors.As(err, &TooManyError{}) {
		t.Errorf("one stream too many: %v, want TooManyError", err)
	}
	last.Close()
	roundTrip(t, e.carrier, PortExec, "again")
	for _, s := range open {
		s.Close()
	}
	writing.Wait()
	roundTrip(t, e.carrier, PortExec, "after")
}

// The host's end dies in mid-frame; the next one on the same line finds its
// place.
func TestNextHostFindsItsPlace(t *testing.T) {
	e := connect(t)
	echo(t, e.guest, PortExec, copyBack)
	roundTrip(t, e.carrier, PortExec, "first")
	s, err := e.carrier.Dial(limited(t), PortExec)
	if err != nil {
		t.Fatal(err)
	}
	go s.Write(make([]byte, 8<<20)) // ends with s
	time.Sleep(20 * time.Millisecond)
	// As a killed process would: nothing is said, no frame is finished.
	e.carrier.streams.mu.Lock()
	l := e.carrier.streams.lease
	e.carrier.streams.mu.Unlock()
	l.Close()
	s.Close()
	// Half a frame of the dead one: a header that promises more than comes.
	e.lines[1].Write([]byte{0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01})
	next := NewSerialCarrier(e.lines[0], e.lines[1])
	defer next.Close()
	roundTrip(t, next, PortExec, "second")
}

func TestCloseEndsStreams(t *testing.T) {
	e := connect(t)
	echo(t, e.guest, PortExec, copyBack)
	s, err := e.carrier.Dial(limited(t), PortExec)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	go e.carrier.Close() // ends by itself
	if _, err := s.Read(make([]byte, 1)); err == nil {
		t.Error("a read went on after Close")
	}
}

// counted counts its reads and is its own listener, of one connection.
type counted struct {
	net.Conn
	reads  atomic.Int64
	given  atomic.Bool
	once   sync.Once
	closed chan struct{}
}

func (c *counted) Read(p []byte) (int, error) {
	c.reads.Add(1)
	return c.Conn.Read(p)
}

func (c *counted) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

func (c *counted) Accept() (net.Conn, error) {
	if c.given.CompareAndSwap(false, true) {
		return c, nil
	}
	<-c.closed
	return nil, net.ErrClosed
}

func (c *counted) Addr() net.Addr { return c.LocalAddr() }

// An HTTP/2 server on a stream, as package control's, gives up when the host
// drops the stream.
func TestDroppedStreamEndsServerInside(t *testing.T) {
	e := connect(t)
	reads := make(chan int64, 1)
	echo(t, e.guest, PortControl, func(c net.Conn) {
		l := &counted{Conn: c, closed: make(chan struct{})}
		server := &http.Server{Protocols: new(http.Protocols)}
		server.Protocols.SetUnencryptedHTTP2(true)
		server.Serve(l)
		reads <- l.reads.Load()
	})
	s, err := e.carrier.Dial(limited(t), PortControl)
	if err != nil {
		t.Fatal(err)
	}
	// The client's preface and an empty SETTINGS frame (RFC 9113, 3.4).
	s.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"))
	s.Read(make([]byte, 1)) // the server is up
	s.Close()
	select {
	case n := <-reads:
		if n > 10 {
			t.Errorf("the server read the dropped stream %d times, want a few", n)
		}
	case <-limited(t).Done():
		t.Error("the server did not notice that its stream was dropped")
	}
}

func TestSkipTo(t *testing.T) {
	for _, c := range []struct{ in, want, rest string }{
		{"abc", "abc", ""}, {"xxabcd", "abc", "d"}, {"ababcx", "abc", "x"}, {"aabaabaaab!", "aabaaab", "!"}, {"\xff\xff\xff\xfeg", "\xff\xfe", "g"},
	} {
		r := bufio.NewReader(iotest.OneByteReader(strings.NewReader(c.in)))
		if err := skipTo(r, []byte(c.want)); err != nil {
			t.Errorf("skipTo(%q, %q): %v", c.in, c.want, err)
		}
		if rest, _ := io.ReadAll(r); string(rest) != c.rest {
			t.Errorf("skipTo(%q, %q) left %q, want %q", c.in, c.want, rest, c.rest)
		}
	}
}

func FuzzSkipTo(f *testing.F) {
	f.Add([]byte("aaab"), []byte("aab"))
	f.Fuzz(func(t *testing.T, in, want []byte) {
		if len(want) == 0 {
			return
		}
		from := bytes.NewReader(in)
		r := bufio.NewReaderSize(from, len(want)) // 16 at the least
		err := skipTo(r, want)
		i := bytes.Index(in, want)
		if (err == nil) != (i >= 0) {
			t.Fatalf("skipTo(%q, %q) = %v, index is %d", in, want, err, i)
		}
		if left := from.Len() + r.Buffered(); err == nil && left != len(in)-i-len(want) {
			t.Fatalf("skipTo(%q, %q) left %d bytes, want %d", in, want, left, len(in)-i-len(want))
		}
	})
}

func FuzzParseHello(f *testing.F) {
	f.Add([]byte(`{"protocol":1,"agent":"x"}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		if h, err := parseHello(in); err == nil && len(h.Agent)+len(h.Kernel)+len(h.BootID) > 3*64 {
			t.Fatalf("parseHello let %+v through", h)
		}
	})
}

func BenchmarkStream(b *testing.B) {
	e := connect(b)
	echo(b, e.guest, PortExec, func(c net.Conn) { io.Copy(io.Discard, c) })
	s, err := e.carrier.Dial(limited(b), PortExec)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	buf := make([]byte, maxFrame)
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		s.Write(buf)
	}
}

// A guest that is silent fails the ping, and its sessions stay until they are
// dropped. After that the next dial reaches it again.
func TestPingAndDrop(t *testing.T) {
	e := connect(t)
	e.guest.Hello(context.Background(), Hello{Protocol: Protocol})
	echo(t, e.guest, PortExec, copyBack)
	if err := e.carrier.Ping(limited(t)); err != nil {
		t.Errorf("Ping: %v", err)
	}
	s, err := e.carrier.Dial(limited(t), PortExec)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	e.carrier.Drop()
	if n, err := s.Read(make([]byte, 1)); err == nil {
		t.Errorf("a dropped stream gave %d bytes", n)
	}
	roundTrip(t, e.carrier, PortExec, "again")
	if err := e.carrier.Ping(limited(t)); err != nil {
		t.Errorf("Ping after Drop: %v", err)
	}

	c1, _ := pair(t)
	s1, _ := pair(t)
	silent := NewSerialCarrier(c1, s1)
	defer silent.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := silent.Ping(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Ping of a silent guest: %v, want the deadline", err)
	}
}

// A greeting that a guest's end has swallowed half is given up by Drop, and the next one
// is whole.
func TestDropEndsGreeting(t *testing.T) {
	c1, c2 := pair(t)
	s1, s2 := pair(t)
	carrier := NewSerialCarrier(c1, s1)
	defer carrier.Close()
	ctx := limited(t)
	done := make(chan error, 1)
	go func() { // ends with Drop, or ctx
		_, err := carrier.Dial(ctx, PortControl)
		done <- err
	}()
	if _, err := io.ReadFull(c2, make([]byte, fillerLen+len(hostMagic))); err != nil {
		t.Fatal(err)
	}
	carrier.Drop()
	if err := <-done; err == nil || ctx.Err() != nil {
		t.Fatalf("Dial whose greeting was swallowed = %v, and its context %v; want an error at once", err, ctx.Err())
	}
	guest := NewSerialGuest(c2, s2)
	defer guest.Close()
	echo(t, guest, PortControl, func(c net.Conn) { io.Copy(c, c) })
	c, err := carrier.Dial(ctx, PortControl)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}
