package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"banger/internal/channel"
	"banger/internal/vm"
	"banger/internal/vmm"
)

// pinged is a machine whose agent is pinged by a test. It counts the carrier's drops.
type pinged struct {
	vmm.Machine
	pid   int
	drops int
}

// dropped is its carrier.
type dropped struct {
	channel.Carrier
	m *pinged
}

func (c dropped) Drop() { c.m.drops++ }

func (m *pinged) Process() vm.Process      { return vm.Process{PID: m.pid} }
func (m *pinged) Carrier() channel.Carrier { return dropped{m: m} }

func newPinged(pid int) (*guard, *pinged) {
	m := &pinged{pid: pid}
	r := &run{log: slog.New(slog.DiscardHandler), board: board{status: Status{Phase: Ready}, changed: make(chan struct{})}}
	return newGuard(r, m), m
}

// While an agent is gone, a connection that does not answer is dropped: it may be another's
// that has ended too. One that refuses is the next agent's, which is not ready yet.
func TestJudgeWhileGone(t *testing.T) {
	g, m := newPinged(os.Getpid())
	for n, p := range []pong{{err: errors.New("connection reset")}, {err: errors.New("404")}, {err: context.DeadlineExceeded}, {err: context.DeadlineExceeded}, {}} {
		g.judge(p)
		if want := []int{1, 1, 2, 3, 3}[n]; m.drops != want {
			t.Errorf("after %d answers it was dropped %d times, want %d", n+1, m.drops, want)
		}
	}
}

// An agent hangs that answers none of three pings in a row, or of twelve if its VMM was
// starved of the processor. One that is refused has ended.
func TestJudge(t *testing.T) {
	late := pong{err: fmt.Errorf("ping: %w", context.DeadlineExceeded)}
	starved := pong{late.err, true}
	refused := pong{err: errors.New("connection reset")}
	tooMany := pong{err: fmt.Errorf("ping: %w", channel.TooManyError{})}
	for name, test := range map[string]struct {
		pings []pong
		gone  bool
	}{
		"once late":               {[]pong{late}, false},
		"twice late":              {[]pong{late, late}, false},
		"three times late":        {[]pong{late, late, late}, true},
		"an answer in between":    {[]pong{late, late, {}, late, late}, false},
		"full in between":         {[]pong{late, late, tooMany, late, late}, false},
		"refused":                 {[]pong{refused}, true},
		"refused after late ones": {[]pong{late, refused}, true},
		"late, then back":         {[]pong{late, late, late, {}}, false},
		"starved":                 {slices.Repeat([]pong{starved}, 11), false},
		"starved, twice late":     {[]pong{late, starved, starved, late}, false},
		"starved, three late":     {[]pong{late, starved, late, late}, true},
		"starved for long":        {slices.Repeat([]pong{starved}, 12), true},
	} {
		g, m := newPinged(os.Getpid())
		for _, p := range test.pings {
			g.judge(p)
		}
		s, _ := g.r.now()
		if gone := !s.AgentGoneSince.IsZero(); gone != test.gone {
			t.Errorf("%s: the agent is gone: %v, want %v", name, gone, test.gone)
		}
		if ended := !s.AgentEndedAt.IsZero(); ended != (m.drops == 1) || m.drops > 1 {
			t.Errorf("%s: its sessions were dropped %d times, and the status says %v", name, m.drops, s.AgentEndedAt)
		}
	}
}

func TestStarved(t *testing.T) {
	for _, tt := range []struct {
		ran, waited time.Duration
		want        bool
	}{
		{0, 0, false}, {time.Second, time.Second, false}, {5 * time.Second, 3 * time.Second, false}, // the guest has time for its agent
		{time.Second, 6 * time.Second, true}, {9500 * time.Millisecond, 0, true}, {5 * time.Second, 5 * time.Second, true}, {19 * time.Second, time.Second, true},
	} {
		if got := starved(tt.ran, tt.waited); got != tt.want {
			t.Errorf("starved(%v, %v) = %v, want %v", tt.ran, tt.waited, got, tt.want)
		}
	}
}

// A process that computes has run.
func TestProcessor(t *testing.T) {
	if _, err := os.Stat("/proc/self/schedstat"); err != nil {
		t.Skipf("this kernel does not say how long a process has run: %v", err)
	}
	begin := time.Now()
	ran, waited := processor(os.Getpid())
	for ; time.Since(begin) < 50*time.Millisecond; runtime.Gosched() {
	}
	ranNow, waitedNow := processor(os.Getpid())
	if ranNow <= ran || waitedNow < waited {
		t.Errorf("processor said %v and %v, then %v and %v", ran, waited, ranNow, waitedNow)
	}
	if ran, waited := processor(-1); ran != 0 || waited != 0 {
		t.Errorf("processor of no process = %v, %v", ran, waited)
	}
}

// A guest that does not answer is said so: its VMM is stopped, or its agent late.
func TestC57Look(t *testing.T) {
	process := exec.Command("sleep", "1000")
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	defer process.Wait()
	defer process.Process.Kill()
	g, m := newPinged(process.Process.Pid)
	says := func(want string) {
		t.Helper()
		g.look()
		if s, _ := g.r.now(); !strings.HasPrefix(s.Silent, want) || (want == "") != (s.Silent == "") {
			t.Errorf("the guest is silent because %q, want %q", s.Silent, want)
		}
	}
	says("")
	g.asked = time.Now()
	says("")
	g.asked = time.Now().Add(-2 * lateLimit)
	says("the guest's agent has not answered since ")
	g.judge(pong{})
	says("")
	process.Process.Signal(syscall.SIGSTOP)
	for end := time.Now().Add(20 * time.Second); !stopped(m) && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	says(fmt.Sprintf("a signal has stopped the VMM (kill -CONT %d lets it go on)", m.pid))
	g.r.update(func(s *Status) { s.Held = "the disk is full" })
	says("")
}

// hanging is a machine whose agent answers each ping until it hangs.
type hanging struct {
	vmm.Machine
	done  chan struct{}
	hung  atomic.Bool
	pings atomic.Int64
}

func (m *hanging) Process() vm.Process      { return vm.Process{PID: 0} } // whose processor no other needs
func (m *hanging) Carrier() channel.Carrier { return onlyPings{m: m} }
func (m *hanging) Done() <-chan struct{}    { return m.done }

// onlyPings is its carrier.
type onlyPings struct {
	channel.Carrier
	m *hanging
}

func (onlyPings) Drop() {}

func (c onlyPings) Dial(context.Context, uint32) (channel.Stream, error) {
	<-c.m.done
	return nil, errors.New("only pings are answered")
}

func (c onlyPings) Ping(ctx context.Context) error {
	c.m.pings.Add(1)
	if c.m.hung.Load() {
		<-ctx.Done()
	}
	return ctx.Err()
}

// A guest's agent is pinged now and then, and each second while a session is open: that
// it hangs is said within 5 s.
func TestG1Hung(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &hanging{done: make(chan struct{})}
		r := &run{log: slog.New(slog.DiscardHandler), board: board{status: Status{Phase: Ready}, changed: make(chan struct{})}}
		g := newGuard(r, m)
		watching := make(chan struct{})
		go func() { // ends with m.done
			g.watch()
			close(watching)
		}()
		pings := func() int64 {
			before := m.pings.Load()
			time.Sleep(time.Minute)
			return m.pings.Load() - before
		}
		idle := pings()
		r.streams.Add(1)
		busy := pings()
		if idle > 10 || busy < 50 || busy > 80 {
			t.Errorf("a minute has %d pings, and %d with a session, want up to 10 and about 60", idle, busy)
		}
		for _, after := range []time.Duration{0, 300 * time.Millisecond, 999 * time.Millisecond} {
			time.Sleep(time.Minute + after)
			m.hung.Store(true)
			time.Sleep(5 * time.Second)
			synctest.Wait()
			if s, _ := r.now(); !strings.HasPrefix(s.Silent, "the guest's agent has not answered since ") {
				t.Errorf("5 s after the agent hung its guest is silent because %q", s.Silent)
			}
			m.hung.Store(false)
			time.Sleep(2 * pingLimit) // the one that hung ends
			if s, _ := r.now(); s.Silent != "" {
				t.Errorf("the agent answers again, and is silent because %q", s.Silent)
			}
		}
		close(m.done)
		<-watching
	})
}
