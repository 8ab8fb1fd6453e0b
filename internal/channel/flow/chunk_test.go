package flow

import (
	"bytes"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// tcp is a pair of connected sockets of TCP.
func tcp(t *testing.T) (a, b *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	d, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); d.Close() })
	return c.(*net.TCPConn), d.(*net.TCPConn)
}

// What many flows carry at once, in pieces of all sizes, arrives as it was sent: the
// buffers that they share are never one flow's and another's.
func TestJoinSizes(t *testing.T) {
	var echoing sync.WaitGroup
	handle := func(f *Flow) {
		far, near := tcp(t)
		if f.Accept() != nil {
			return
		}
		echoing.Go(func() { // ends with near
			io.Copy(far, far)
			far.CloseWrite()
		})
		Join(f, near)
	}
	_, guest := sessions(t, 0, handle)
	var all sync.WaitGroup
	for n := range uint64(8) {
		f := mustOpen(t, guest, "echo")
		near, far := tcp(t)
		all.Go(func() { Join(f, near) })
		random := rand.New(rand.NewPCG(n, 1))
		seed := [32]byte{byte(n)}
		const total = 3 << 20
		all.Go(func() {
			source := rand.NewChaCha8(seed)
			for sent := 0; sent < total; {
				p := make([]byte, min(1+random.IntN(1<<random.IntN(18)), total-sent))
				source.Read(p)
				if _, err := far.Write(p); err != nil {
					t.Errorf("flow %d: %v", n, err)
					break
				}
				sent += len(p)
			}
			far.CloseWrite()
		})
		all.Go(func() {
			want, got := sha256.New(), sha256.New()
			io.CopyN(want, rand.NewChaCha8(seed), total)
			m, err := io.Copy(got, far)
			if m != total || err != nil || !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
				t.Errorf("flow %d: %d bytes came back, %v; want the %d that were sent", n, m, err, total)
			}
		})
	}
	all.Wait()
	echoing.Wait()
}

// A connection in another's wrapping gets its bytes by its own Write.
func TestTogetherWrapped(t *testing.T) {
	a, b := tcp(t)
	w := &counting{TCPConn: a}
	var together together
	n, err := together.write(w, []chunk{{data: []byte("one")}, {data: []byte("two")}})
	if n != 6 || err != nil || w.writes != 2 {
		t.Errorf("write = %d, %v in %d writes of the wrapping's; want 6 in 2", n, err, w.writes)
	}
	if n, err := together.write(a, []chunk{{data: []byte("one")}, {data: []byte("two")}}); n != 6 || err != nil {
		t.Errorf("write to TCP = %d, %v; want 6", n, err)
	}
	a.CloseWrite()
	if got, err := io.ReadAll(b); string(got) != "onetwoonetwo" || err != nil {
		t.Errorf("the other end got %q, %v", got, err)
	}
}

type counting struct {
	*net.TCPConn
	writes int
}

func (c *counting) Write(p []byte) (int, error) {
	c.writes++
	return c.TCPConn.Write(p)
}
