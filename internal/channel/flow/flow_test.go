package flow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// generous bounds what must come.
const generous = time.Minute

// carrier is a pair of connected sockets.
func carrier(t testing.TB) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = net.Dial("unix", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return a, b
}

func sessions(t testing.TB, max int, handle func(*Flow)) (host, guest *Session) {
	t.Helper()
	a, b := carrier(t)
	host = New(a, true, max, handle)
	guest = New(b, false, 0, func(f *Flow) { f.Refuse(9, "not here") })
	t.Cleanup(func() { host.Close(); guest.Close() })
	return host, guest
}

func limited(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), generous)
	t.Cleanup(cancel)
	return ctx
}

func mustOpen(t testing.TB, s *Session, header string) *Flow {
	t.Helper()
	f, err := s.Open(limited(t), []byte(header))
	if err != nil {
		t.Fatalf("open %q: %v", header, err)
	}
	return f
}

// echo answers a flow with what it sends.
func echo(f *Flow) {
	if f.Accept() != nil {
		return
	}
	if _, err := io.Copy(f, struct{ io.Reader }{f}); err == nil {
		f.CloseWrite()
	}
}

func TestEcho(t *testing.T) {
	_, guest := sessions(t, 0, echo)
	var all sync.WaitGroup
	for n := range 40 {
		all.Go(func() {
			f := mustOpen(t, guest, "echo")
			want := make([]byte, n*n*300)
			rand.NewChaCha8([32]byte{byte(n)}).Read(want)
			all.Go(func() {
				for rest := want; len(rest) > 0; {
					m := min(len(rest), 1+rand.IntN(100_000))
					if _, err := f.Write(rest[:m]); err != nil {
						t.Errorf("write: %v", err)
						return
					}
					rest = rest[m:]
				}
				f.CloseWrite()
			})
			got, err := io.ReadAll(struct{ io.Reader }{f})
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("flow %d: %d bytes came back of %d: %v", n, len(got), len(want), err)
			}
		})
	}
	all.Wait()
	if n := guest.Flows(); n != 0 {
		t.Errorf("%d flows are left", n)
	}
}

// Each way ends alone.
func TestHalfClose(t *testing.T) {
	_, guest := sessions(t, 0, func(f *Flow) {
		f.Accept()
		got, err := io.ReadAll(f)
		fmt.Fprintf(f, "%s %v", got, err)
		f.CloseWrite()
	})
	f := mustOpen(t, guest, "")
	io.WriteString(f, "all")
	f.CloseWrite()
	if _, err := f.Write([]byte("more")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a write after the end: %v", err)
	}
	if got, err := io.ReadAll(f); string(got) != "all <nil>" || err != nil {
		t.Errorf("after the end of one way: %q, %v", got, err)
	}
}

func TestRefused(t *testing.T) {
	host, guest := sessions(t, 0, func(f *Flow) {
		if string(f.Header()) == "silent" {
			return
		}
		f.Refuse(7, "no "+string(f.Header()))
	})
	for header, want := range map[string]RefusedError{"x": {7, "no x"}, "silent": {CodeTooMany, "nobody has answered"}} {
		_, err := guest.Open(limited(t), []byte(header))
		var refused *RefusedError
		if !errors.As(err, &refused) || *refused != want {
			t.Errorf("open %q: %v, want %v", header, err, want)
		}
	}
	if _, err := guest.Open(limited(t), make([]byte, MaxHeader+1)); err == nil {
		t.Error("a header that is too long was taken")
	}
	if host.Flows()+guest.Flows() != 0 {
		t.Error("refused flows are left")
	}
}

// An open that is given up is taken back.
func TestGivenUp(t *testing.T) {
	heard, gone := make(chan struct{}), make(chan error, 1)
	_, guest := sessions(t, 0, func(f *Flow) {
		close(heard)
		gone <- f.Done(limited(t))
	})
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-heard; cancel() }()
	if _, err := guest.Open(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("open: %v", err)
	}
	if err := <-gone; err != nil {
		t.Errorf("the flow that was taken back: %v", err)
	}
}

// A reset ends reads and writes on both ends, and nothing looks like an end.
func TestReset(t *testing.T) {
	var blocked sync.WaitGroup
	blocked.Add(1)
	errs := make(chan error, 2)
	_, guest := sessions(t, 0, func(f *Flow) {
		f.Accept()
		go func() {
			_, err := f.Write(make([]byte, 1<<20))
			errs <- err
		}()
		_, err := io.ReadAll(f)
		errs <- err
	})
	f := mustOpen(t, guest, "")
	f.Reset()
	for range 2 {
		if err := <-errs; !errors.Is(err, ErrReset) {
			t.Errorf("after the reset: %v", err)
		}
	}
	if _, err := f.Read(make([]byte, 1)); !errors.Is(err, ErrReset) {
		t.Errorf("read here: %v", err)
	}
}

// A handler that outlives its flow keeps its place: an end that opens flows and takes them
// back begins no more of them than are allowed.
func TestHandlersBounded(t *testing.T) {
	const most = 3
	release := make(chan struct{})
	_, guest := sessions(t, most, func(f *Flow) {
		f.Refuse(7, "busy")
		<-release
	})
	defer close(release)
	var refused *RefusedError
	for range most {
		if _, err := guest.Open(limited(t), nil); !errors.As(err, &refused) || refused.Code != 7 {
			t.Fatalf("open: %v, want the handler's refusal", err)
		}
	}
	if _, err := guest.Open(limited(t), nil); !errors.As(err, &refused) || refused.Code != CodeTooMany {
		t.Errorf("open beside %d handlers: %v, want the code %d", most, err, CodeTooMany)
	}
}

// As many flows as are allowed stall, and a new end of the other kind still answers.
func TestStalled(t *testing.T) {
	const most = 500
	release := make(chan struct{})
	host, guest := sessions(t, most, func(f *Flow) {
		f.Accept()
		<-release
	})
	for n := range most {
		f := mustOpen(t, guest, fmt.Sprint(n))
		go f.Write(make([]byte, 1<<20)) // ends with the session
	}
	var refused *RefusedError
	if _, err := guest.Open(limited(t), nil); !errors.As(err, &refused) || refused.Code != CodeTooMany {
		t.Errorf("one flow more: %v", err)
	}
	// The other way is not stalled.
	if _, err := host.Open(limited(t), nil); !errors.As(err, &refused) || refused.Code != 9 {
		t.Errorf("the other way: %v", err)
	}
	host.mu.Lock()
	held := 0
	for _, f := range host.flows {
		held += f.held
	}
	host.mu.Unlock()
	if held > most*firstWindow {
		t.Errorf("%d stalled flows hold %d bytes", most, held)
	}
	close(release)
}

// A stalled flow beside one that moves.
func TestOneStalled(t *testing.T) {
	stalled := make(chan struct{})
	_, guest := sessions(t, 0, func(f *Flow) {
		if string(f.Header()) == "stall" {
			f.Accept()
			<-stalled
			return
		}
		echo(f)
	})
	defer close(stalled)
	go mustOpen(t, guest, "stall").Write(make([]byte, 1<<20)) // ends with the session
	f := mustOpen(t, guest, "echo")
	go func() { f.Write(make([]byte, 8<<20)); f.CloseWrite() }() // ends with f
	n, err := io.Copy(io.Discard, f)
	if n != 8<<20 || err != nil {
		t.Errorf("%d bytes came back, %v", n, err)
	}
}

// The carrier's end resets all.
func TestCarrierEnds(t *testing.T) {
	host, guest := sessions(t, 0, func(f *Flow) { f.Accept(); f.Done(context.Background()) })
	f := mustOpen(t, guest, "")
	host.carrier.Close()
	if _, err := io.ReadAll(f); !errors.Is(err, ErrSession) {
		t.Errorf("read: %v", err)
	}
	<-host.Done()
	<-guest.Done()
	if _, err := guest.Open(limited(t), nil); !errors.Is(err, ErrSession) {
		t.Errorf("open: %v", err)
	}
	if guest.Err() == nil {
		t.Error("the session's end has no reason")
	}
}

// What breaks the rules ends the session.
func TestBreaches(t *testing.T) {
	hdr := func(kind byte, id uint32, payload ...byte) []byte {
		return append(appendHeader(nil, kind, id, len(payload)), payload...)
	}
	for name, text := range map[string][]byte{
		"unknown kind":           hdr(99, 2),
		"kind 0":                 hdr(0, 2),
		"never opened":           hdr(kindData, 2, 1),
		"opened by the host":     hdr(kindOpen, 1),
		"number goes down":       append(hdr(kindOpen, 4), hdr(kindOpen, 2)...),
		"opened twice":           append(hdr(kindOpen, 4), hdr(kindOpen, 4)...),
		"answer to nothing":      append(hdr(kindOpen, 2), hdr(kindAnswer, 2, 0)...),
		"data before the answer": append(hdr(kindOpen, 2, 'w'), hdr(kindData, 2, 1)...),
		"header too long":        appendHeader(nil, kindOpen, 2, MaxHeader+1),
		"data too long":          appendHeader(nil, kindData, 2, maxData+1),
		"empty data":             append(hdr(kindOpen, 2), hdr(kindData, 2)...),
		"end too early":          append(hdr(kindOpen, 2, 'w'), hdr(kindEnd, 2)...),
		"window too large":       append(hdr(kindOpen, 2), hdr(kindWindow, 2, 0xff, 0, 0, 0)...),
		"window of 3 bytes":      append(hdr(kindOpen, 2), hdr(kindWindow, 2, 0, 0, 0)...),
		"cut":                    hdr(kindOpen, 2)[:5],
	} {
		a, b := carrier(t)
		s := New(a, true, 0, func(f *Flow) { f.Done(context.Background()) })
		b.Write(text)
		if name == "cut" {
			b.Close()
		}
		select {
		case <-s.Done():
		case <-time.After(generous):
			t.Errorf("%s: the session goes on", name)
		}
		b.Close()
		s.Close()
	}
}

func TestJoin(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, guest := sessions(t, 0, func(f *Flow) {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			f.Refuse(1, err.Error())
			return
		}
		f.Accept()
		Join(f, c.(*net.TCPConn))
	})
	accept := func() *net.TCPConn {
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		return c.(*net.TCPConn)
	}
	t.Run("ends", func(t *testing.T) {
		f := mustOpen(t, guest, "")
		c := accept()
		defer c.Close()
		io.WriteString(f, "question")
		f.CloseWrite()
		if got, err := io.ReadAll(c); string(got) != "question" || err != nil {
			t.Errorf("the server reads %q, %v", got, err)
		}
		io.WriteString(c, "answer")
		c.Close()
		if got, err := io.ReadAll(f); string(got) != "answer" || err != nil {
			t.Errorf("the guest reads %q, %v", got, err)
		}
	})
	t.Run("server resets", func(t *testing.T) {
		f := mustOpen(t, guest, "")
		c := accept()
		c.SetLinger(0)
		c.Close()
		if _, err := io.ReadAll(f); !errors.Is(err, ErrReset) {
			t.Errorf("the guest reads %v", err)
		}
	})
	t.Run("guest resets", func(t *testing.T) {
		f := mustOpen(t, guest, "")
		c := accept()
		defer c.Close()
		f.Reset()
		if _, err := io.ReadAll(c); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the server reads %v", err)
		}
	})
	t.Run("carrier ends", func(t *testing.T) {
		mustOpen(t, guest, "")
		c := accept()
		defer c.Close()
		guest.Close()
		if _, err := io.ReadAll(c); err == nil {
			t.Error("the server reads an end")
		}
	})
}

// killedEnv has the server's address for the process that TestJoinKilled kills.
const killedEnv = "BANGER_TEST_JOINED"

// The peer of a connection that a flow is joined with reads a reset when the process dies, and no
// end: what it has got may be a part.
func TestJoinKilled(t *testing.T) {
	if to := os.Getenv(killedEnv); to != "" {
		_, guest := sessions(t, 0, func(f *Flow) {
			c, err := net.Dial("tcp", to)
			if err != nil {
				t.Error(err)
				return
			}
			f.Accept()
			Join(f, c.(*net.TCPConn))
		})
		io.WriteString(mustOpen(t, guest, ""), "a part")
		select {} // until it is killed
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestJoinKilled$")
	cmd.Env = append(os.Environ(), killedEnv+"="+l.Addr().String())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.ReadFull(c, make([]byte, len("a part"))); err != nil {
		t.Fatal(err)
	}
	cmd.Process.Kill()
	if n, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("after the process's death the server reads %d bytes, %v, want %v", n, err, syscall.ECONNRESET)
	}
}

// Any bytes are taken or refused, and neither hang nor hold more than the windows.
func FuzzSession(f *testing.F) {
	f.Add(append(appendHeader(nil, kindOpen, 2, 1), 'a'))
	f.Add(append(append(appendHeader(nil, kindOpen, 2, 1), 'e'), append(appendHeader(nil, kindData, 2, 3), "abc"...)...))
	f.Fuzz(func(t *testing.T, text []byte) {
		a, b := net.Pipe()
		s := New(a, true, 4, echo)
		go io.Copy(io.Discard, b) // ends with b
		b.Write(text)
		s.mu.Lock()
		held := 0
		for _, f := range s.flows {
			held += f.held
		}
		if held > 4*2*maxWindow || len(s.flows) > 4 {
			t.Errorf("%d flows hold %d bytes", len(s.flows), held)
		}
		s.mu.Unlock()
		b.Close()
		s.Close()
	})
}

func BenchmarkFlow(b *testing.B) {
	_, guest := sessions(b, 0, func(f *Flow) {
		f.Accept()
		io.Copy(io.Discard, f)
	})
	f := mustOpen(b, guest, "")
	p := make([]byte, 32<<10)
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		f.Write(p)
	}
}
