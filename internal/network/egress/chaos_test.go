package egress

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"banger/internal/channel/flow"
	"banger/internal/channel/netflow"
)

var breaks = flag.Int("breaks", 20, "how often TestCarrierBroken breaks the carrier")

// link is the carrier that a guest has now. It is broken and made anew.
type link struct {
	w    *world
	mu   sync.Mutex
	ends [2]*flow.Session
}

func (l *link) guest() *flow.Session {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ends[0]
}

// renew breaks the carrier and makes another.
func (l *link) renew() {
	l.mu.Lock()
	old := l.ends
	guest, host := l.w.carrier()
	l.ends = [2]*flow.Session{guest, host}
	l.mu.Unlock()
	for _, s := range old {
		if s != nil {
			s.Close()
		}
	}
}

// While the carrier is broken and made anew, each flow carries every byte right, or is
// reset: none is silent, none looks whole that is not.
func TestCarrierBroken(t *testing.T) {
	w := newWorld(t, setup{policy: "public --deny bad.example"})
	l := &link{w: w}
	l.renew()
	t.Cleanup(func() {
		l.ends[0].Close()
		l.ends[1].Close()
	})
	// The server says the sum of what it got, but only after a whole end.
	addr := serve(t, publicAddr, 0, func(c *net.TCPConn) {
		sum := sha256.New()
		if _, err := io.Copy(io.MultiWriter(sum, c), struct{ io.Reader }{c}); err == nil {
			c.Write(sum.Sum(nil))
		}
	})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	stop := make(chan struct{})
	var whole, broken atomic.Int64
	var working sync.WaitGroup
	for n := range 12 {
		working.Go(func() { // ends with stop
			random := rand.NewChaCha8([32]byte{byte(n)})
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := transfer(l.guest(), addr, random); err == nil {
					whole.Add(1)
				} else if errors.Is(err, errWrong) {
					t.Error(err)
				} else {
					broken.Add(1)
				}
			}
		})
	}
	for range *breaks {
		had := whole.Load()
		w.until("a transfer is whole", func() bool { return whole.Load() > had })
		l.renew()
	}
	close(stop)
	finished := make(chan struct{})
	go func() { // ends with the workers
		working.Wait()
		close(finished)
	}()
	select {
	case <-finished:
	case <-time.After(2 * generous):
		t.Fatal("a flow is silent")
	}
	w.idle()
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 32<<20 {
		t.Errorf("%d MiB are held when all flows have ended", grown>>20)
	}
	t.Logf("%d transfers were whole, %d reset, %d carriers broken", whole.Load(), broken.Load(), *breaks)
}

var errWrong = errors.New("the bytes are wrong")

// transfer sends bytes to a server that echoes them with their sum. An error of the kind errWrong is
// a wrong byte, any other a flow that was reset or not made.
func transfer(guest *flow.Session, to netip.AddrPort, random *rand.ChaCha8) error {
	f, err := openOn(guest, to)
	if err != nil {
		return err
	}
	defer f.Reset()
	data := make([]byte, random.Uint64()%300_000)
	random.Read(data)
	var writing sync.WaitGroup
	defer writing.Wait()
	writing.Go(func() { // ends with the flow
		if _, err := f.Write(data); err == nil {
			f.CloseWrite()
		}
	})
	got, err := io.ReadAll(struct{ io.Reader }{f})
	sum := sha256.Sum256(data)
	want := append(bytes.Clone(data), sum[:]...)
	switch {
	case err == nil && !bytes.Equal(got, want):
		return fmt.Errorf("%w: a flow with %d of %d bytes looks whole", errWrong, len(got), len(want))
	case !bytes.HasPrefix(want, got):
		return fmt.Errorf("%w: %d bytes came, of others", errWrong, len(got))
	}
	return err
}

func openOn(guest *flow.Session, to netip.AddrPort) (*flow.Flow, error) {
	ctx, cancel := context.WithTimeout(context.Background(), generous)
	defer cancel()
	return guest.Open(ctx, netflow.Request{Kind: netflow.Connect, Addr: to}.Marshal())
}
