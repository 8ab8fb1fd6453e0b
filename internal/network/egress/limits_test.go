package egress

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"banger/internal/channel/flow"
	"banger/internal/channel/netflow"
	"banger/internal/network/dial"
	"banger/internal/network/resolver"
)

// Beyond the limits connections are refused, and the next one works.
func TestFlood(t *testing.T) {
	w := newWorld(t, setup{policy: "public"})
	w.g.dialer.Limit = time.Second
	to := silent(t)
	var busy, many, other atomic.Int64
	var working sync.WaitGroup
	begun := time.Now()
	for range 10000 {
		working.Go(func() {
			_, err := w.connect(to)
			switch refusal(err) {
			case netflow.Busy:
				busy.Add(1)
			case flow.CodeTooMany:
				many.Add(1)
			case netflow.Unreachable:
				other.Add(1)
			default:
				t.Errorf("connect: %v", err)
			}
		})
	}
	working.Wait()
	took := time.Since(begun)
	if busy.Load()+many.Load() < 1000 || other.Load() == 0 {
		t.Errorf("%d and %d are refused because there are too many, %d have no answer", busy.Load(), many.Load(), other.Load())
	}
	w.recorded("too many")
	w.told(overDials, int(busy.Load()), took)
	w.idle()
	addr := serve(t, publicAddr, 0, echo)
	w.until("a connection is made again", func() bool {
		f, err := w.connect(addr)
		if err == nil {
			f.Reset()
		}
		return err == nil
	})
}

// told holds that what was over a limit is recorded, each time counted, in no more events than
// that time has room for.
func (w *world) told(reason string, times int, took time.Duration) {
	w.t.Helper()
	w.g.excess.flush()
	events, counted := w.counted(reason)
	if most := 3 + int(took/excessPause); counted != times || events > most {
		w.t.Errorf("%q is recorded %d times in %d events, want %d times in %d at most", reason, counted, events, times, most)
	}
}

// A VM has so many connections, and no more.
func TestTooMany(t *testing.T) {
	w := newWorld(t, setup{policy: "public"})
	addr := serve(t, publicAddr, 0, echo)
	w.g.mu.Lock()
	w.g.flows = w.g.maxFlows - 1 // as if there were
	w.g.mu.Unlock()
	f := w.mustConnect(addr)
	w.refused(addr, netflow.Busy, "too many")
	f.Reset()
	w.until("there is room again", func() bool { return w.g.Flows() == 0 })
	w.until("the next one works", func() bool {
		f, err := w.connect(addr)
		if err == nil {
			f.Reset()
		}
		return err == nil
	})
}

// A supervisor that may open few files keeps some for its log and its clients.
func TestTooManyFiles(t *testing.T) {
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &old)
	for files, want := range map[uint64]int{1024: 512, 4096: 2560, 16384: maxFlows} {
		if files > old.Max {
			t.Skipf("this process may open %d files", old.Max)
		}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: files, Max: old.Max}); err != nil {
			t.Fatal(err)
		}
		g := New(Config{Routes: routes{}, Host: &resolver.Host{}})
		if g.maxFlows != want {
			t.Errorf("with %d files there are %d connections at most, want %d", files, g.maxFlows, want)
		}
		g.Close()
	}
}

// Of 700 questions at once those for which there is no room are refused, the host's resolver has
// some of the others, and the rest waits for its turn.
func TestDNSFlood(t *testing.T) {
	w := newWorld(t, setup{policy: "public", options: "timeout:30 attempts:1"})
	w.dns.set("site.example", publicAddr)
	held := make(chan struct{})
	w.dns.mu.Lock()
	w.dns.held = held
	w.dns.mu.Unlock()
	const all = 700
	var busy, failed, answered atomic.Int64
	var asking sync.WaitGroup
	begun := time.Now()
	for range all {
		asking.Go(func() {
			f, err := w.open(netflow.Request{Kind: netflow.DNS})
			if refusal(err) == netflow.Busy {
				busy.Add(1)
				return
			}
			if err != nil {
				t.Errorf("open a flow for DNS: %v", err)
				return
			}
			defer f.Close()
			f.Write(resolver.Frame(question(t, "site.example", dnsmessage.TypeA)))
			text, err := readMessage(f)
			var m dnsmessage.Message
			if err != nil || m.Unpack(text) != nil {
				t.Errorf("read an answer: %v", err)
				return
			}
			if m.RCode == dnsmessage.RCodeServerFailure {
				failed.Add(1)
			} else {
				answered.Add(1)
			}
		})
	}
	came := func() int {
		w.dns.mu.Lock()
		defer w.dns.mu.Unlock()
		return w.dns.came
	}
	w.until("the rest is refused", func() bool { return busy.Load() >= all-maxDNS && came() >= maxLookups })
	time.Sleep(100 * time.Millisecond) // time for one too many
	if n, took := came(), time.Since(begun); n != maxLookups && took < 9*time.Second {
		t.Errorf("the host's resolver has %d questions at once, want %d", n, maxLookups)
	}
	w.dns.mu.Lock()
	w.dns.held = nil
	w.dns.mu.Unlock()
	close(held)
	asking.Wait()
	took := time.Since(begun)
	if n := busy.Load() + failed.Load() + answered.Load(); n != all || answered.Load() == 0 || failed.Load() > 0 && took < 9*time.Second {
		t.Errorf("%d are busy, %d fail, %d are answered in %s", busy.Load(), failed.Load(), answered.Load(), took)
	}
	w.told(overQuestions, int(busy.Load()), took)
	if a := w.resolve("site.example"); a != publicAddr {
		t.Errorf("after the flood the name has %s", a)
	}
	w.idle()
}

// Questions that come too fast are answered one after the other, at the rate.
func TestDNSRate(t *testing.T) {
	w := newWorld(t, setup{policy: "public"})
	w.dns.set("site.example", publicAddr)
	w.g.questionRate = bucket{rate: 100, burst: 5}
	var asking sync.WaitGroup
	begun := time.Now()
	for range 35 {
		asking.Go(func() {
			if a := w.resolve("site.example"); a != publicAddr {
				t.Errorf("the name has %s", a)
			}
		})
	}
	asking.Wait()
	if took := time.Since(begun); took < 290*time.Millisecond {
		t.Errorf("35 questions are answered within %s, want 100 a second after 5", took)
	}
	w.idle()
}

// A VM has so many pings under way, and no more; those that come too fast wait.
func TestPingFlood(t *testing.T) {
	w := newWorld(t, setup{policy: "public"})
	ping := func() (*flow.Flow, error) {
		return w.open(netflow.Request{Kind: netflow.Ping, Addr: netip.AddrPortFrom(publicAddr, 0)})
	}
	var under []*flow.Flow
	begun := time.Now()
	for n := range maxPings {
		f, err := ping() // it waits for the data
		if err != nil {
			t.Fatalf("ping %d: %v", n, err)
		}
		under = append(under, f)
	}
	for range 10 {
		if _, err := ping(); refusal(err) != netflow.Busy {
			t.Errorf("one ping too many: %v, want code %d", err, netflow.Busy)
		}
	}
	w.told(overPings, 10, time.Since(begun))
	for _, f := range under {
		f.Reset()
	}
	w.until("there is room again", func() bool { return len(w.g.pings) == 0 })
	if _, err := w.g.dialer.Ping(limited(t), publicAddr, 0, 1, nil); errors.Is(err, dial.ErrNoPing) {
		t.Skip(err)
	}
	w.g.pingRate = bucket{rate: 50, burst: 1}
	begun = time.Now()
	for range 6 {
		f, err := ping()
		if err != nil {
			t.Fatal(err)
		}
		wantEcho(t, f)
	}
	if took := time.Since(begun); took < 99*time.Millisecond {
		t.Errorf("6 pings are answered within %s, want 50 a second after the first", took)
	}
	w.idle()
}

// A note is recorded when its answer is there, one of QUIC is not; a flood of them is counted.
func TestNote(t *testing.T) {
	w := newWorld(t, setup{policy: "public"})
	w.slow = 50 * time.Millisecond
	note := func(to string) {
		t.Helper()
		_, err := w.open(netflow.Request{Kind: netflow.Note, Proto: "udp", Addr: netip.MustParseAddrPort(to), From: netip.MustParseAddrPort("10.0.2.15:5001")})
		if refusal(err) != netflow.Denied {
			t.Errorf("a note: %v", err)
		}
	}
	note("93.184.216.34:443")
	note("93.184.216.34:5000")
	if n := w.count(); n != 1 {
		t.Errorf("%d events are recorded, want one, and none for QUIC: it is tried before TCP", n)
	}
	w.recorded("udp", publicAddr.String(), "port=5000", "UDP is not carried", "[udp:5001]")
	w.slow = 0
	w.g.noteRate = bucket{rate: 1e-6, burst: 3}
	begun := time.Now()
	for n := range 20 {
		note(fmt.Sprintf("93.184.216.34:%d", 6000+n))
	}
	w.told(overNotes, 17, time.Since(begun))
}
