package supervisor

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/channel"
	"banger/internal/vmm"
)

// Intervals and limits of watching a VMM and its guest.
const (
	// An agent answers in milliseconds, one that is emulated and busy in a second
	// or two; on a host that is starved of its processors it has taken more than ten. So an
	// agent hangs that answers none of several pings, which follow one another.
	pingPause = 10 * time.Second
	pingLimit = 10 * time.Second
	pingTries = 3
	// starvedTries is pingTries where the VMM wanted a processor all the time, or got less than a
	// fifth of what it wanted: the guest is busy, or stands nearly still, and its agent is late for
	// that. A host that is a VM itself may not see that it is its own processors that are taken.
	starvedTries  = 12
	starvedFactor = 4
	// roomPause is between two looks for free space, roomNeeded how much (bytes)
	// lets the guest go on.
	roomPause  = time.Second
	roomNeeded = 4 << 20
	// vmmLimit is how long a VMM may take to answer on its own interface.
	vmmLimit = 2 * time.Second
	// lateLimit is when it is said that an agent takes long for its answer. While streams
	// are open, it is pinged every roomPause: a session hears of a hung agent within 5 s.
	lateLimit   = 3500 * time.Millisecond
	starvedLate = 15 * time.Second
	// lookPause is between two looks for an agent that is gone, or for its events;
	// soonPause while it has been gone for less than soonLimit, as most are back then.
	lookPause = time.Second
	soonPause = 100 * time.Millisecond
	soonLimit = 15 * time.Second
)

// guard watches a VMM and its guest from the launch to the VMM's end: it keeps
// the status true, and lets a guest go on when the host has room again. It moves
// no phase.
type guard struct {
	r      *run
	m      vmm.Machine
	events <-chan vmm.Event // nil if the VMM reports none
	broke  chan struct{}    // the stream of the agent's events has ended
	held   string           // the file that the VMM could not write
	full   bool             // for want of room
	closed bool             // the guest has closed the channel, by the VMM's word
	late   int              // pings in a row that were not answered in their time
	hungry int              // those of them during which the VMM was starved
	asked  time.Time        // when the first ping was sent that is not answered yet; zero if all are
	ran    time.Duration    // the VMM's processor's time at asked, and what it had waited for one
	waited time.Duration
}

func newGuard(r *run, m vmm.Machine) *guard {
	g := &guard{r: r, m: m, broke: make(chan struct{}, 1)}
	if rep, ok := m.(vmm.Reporter); ok {
		g.events = rep.Events()
	}
	return g
}

// watch returns at the VMM's end.
func (g *guard) watch() {
	room := time.NewTicker(roomPause)
	defer room.Stop()
	var asking sync.WaitGroup
	defer asking.Wait()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	asking.Go(func() { g.follow(ctx) }) // ends soon after ctx
	pings := make(chan pong, 1)
	next, pinging := time.After(pingPause), false
	var late <-chan time.Time // lateLimit after g.asked
	soon := func() {
		if !pinging { // else its result comes soon
			next = time.After(0)
		}
	}
	for {
		select {
		case <-g.m.Done():
			return
		case e := <-g.events:
			g.hear(e)
			if e.Kind == vmm.AgentBack {
				soon()
			}
		case <-g.broke:
			soon()
		case <-room.C:
			s, _ := g.r.now()
			if s.Held != "" && (!g.full || hasRoom(g.held)) {
				letGo(g.r, g.m)
			}
			g.look()
			if g.r.streams.Load() > 0 {
				soon()
			}
		case <-late:
			g.look()
		case <-next:
			next = time.After(pingPause)
			if !g.closed { // else the VMM tells when it is open again
				next, pinging = nil, true
				if g.asked.IsZero() {
					g.asked = time.Now()
					g.ran, g.waited = processor(g.m.Process().PID)
					late = time.After(lateLimit)
				}
				asking.Go(func() { pings <- g.ping(ctx) }) // ends with ctx at the latest; pings has room
			}
		case p := <-pings:
			pinging = false
			g.judge(p)
			next = time.After(pingPause)
			if g.late > 0 {
				next = time.After(0)
			}
			if s, _ := g.r.now(); !s.AgentGoneSince.IsZero() {
				pause := lookPause
				if time.Since(s.AgentGoneSince) < soonLimit {
					pause = soonPause
				}
				next = time.After(pause)
			}
		}
	}
}

// hear notes what the VMM reports.
func (g *guard) hear(e vmm.Event) {
	switch e.Kind {
	case vmm.HeldStill:
		g.held, g.full = e.Path, e.Full
		text := heldText(e)
		g.r.log.Warn("the guest is held still", "path", e.Path, "why", strconv.QuoteToGraphic(e.Why))
		g.r.update(func(s *Status) {
			if s.Held == "" {
				s.HeldSince = time.Now().UTC()
			}
			s.Held = text
		})
	case vmm.GoesOn:
		g.r.update(func(s *Status) { s.Held, s.HeldSince = "", time.Time{} })
	case vmm.AgentGone, vmm.AgentBack:
		g.closed = e.Kind == vmm.AgentGone
		if g.closed {
			g.agent(false)
		}
	}
}

// heldText says why the VMM holds the guest still.
func heldText(e vmm.Event) string {
	switch {
	case !e.Full:
		return fmt.Sprintf("the host can't write %s: %s", cmp.Or(e.Path, "its disk"), escape(e.Why))
	case e.Path == "":
		return "the host's disk is full"
	}
	return fmt.Sprintf("the host's disk is full (%s needs room)", e.Path)
}

// agent notes whether the guest's agent answers.
func (g *guard) agent(answers bool) {
	s, _ := g.r.now()
	if answers == s.AgentGoneSince.IsZero() {
		return
	}
	g.r.log.Info("the guest's agent", "answers", answers)
	g.r.update(func(s *Status) {
		s.AgentGoneSince = time.Time{}
		if !answers {
			s.AgentGoneSince = time.Now().UTC()
			s.AgentEndedAt = s.AgentGoneSince
		}
	})
}

// pong is a ping's result, and whether the VMM was starved of the processor meanwhile.
type pong struct {
	err     error
	starved bool
}

// ping asks the agent for a sign of life. It is no ping of HTTP/2's: that would
// end the sessions of a guest that is held still, or whose VMM is stopped, and
// both go on.
func (g *guard) ping(ctx context.Context) pong {
	ran, waited := processor(g.m.Process().PID)
	err := g.ask(ctx)
	ranNow, waitedNow := processor(g.m.Process().PID)
	ran, waited = ranNow-ran, waitedNow-waited
	return pong{err, starved(ran, waited)}
}

// starved reports whether a VMM that has run and waited for a processor for so long during
// pingLimit has a guest whose agent is late for that.
func starved(ran, waited time.Duration) bool {
	return ran+waited > pingLimit*9/10 || waited > pingLimit/2 && waited > starvedFactor*ran
}

func (g *guard) ask(ctx context.Context) error {
	if s, _ := g.r.now(); s.Phase != Ready {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, pingLimit)
	defer cancel()
	var err error
	if p, ok := g.m.Carrier().(interface{ Ping(context.Context) error }); ok {
		err = p.Ping(ctx)
	} else {
		_, err = g.r.guest(g.m).Health(ctx)
	}
	if s, _ := g.r.now(); err == nil && !s.AgentGoneSince.IsZero() {
		err = g.r.welcome(ctx, g.m)
	}
	return err
}

// judge takes a ping's result. An agent that did not answer although its guest
// runs has hung: its sessions are ended, as they would be at its end.
func (g *guard) judge(p pong) {
	s, _ := g.r.now()
	err := p.err
	late, hungry := g.late+1, g.hungry
	if p.starved {
		hungry++
	}
	g.late, g.hungry = 0, 0
	if !errors.Is(err, context.DeadlineExceeded) || s.Phase != Ready {
		g.asked = time.Time{}
	}
	switch {
	case s.Phase != Ready || g.closed || errors.As(err, &channel.TooManyError{}):
	case err == nil:
		g.agent(true)
	case s.Held != "" || vmmSilent(g.m) != nil:
	case errors.Is(err, context.DeadlineExceeded) && s.AgentGoneSince.IsZero() && late-hungry < pingTries && late < starvedTries:
		g.late, g.hungry = late, hungry
	default:
		g.r.log.Warn("ping the guest's agent", "err", err)
		// After an agent's end the connection may be another's that has ended too: the VMM
		// tells of one change a second.
		if s.AgentGoneSince.IsZero() || errors.Is(err, context.DeadlineExceeded) {
			g.m.Carrier().Drop()
		}
		g.agent(false)
	}
}

// look notes why the guest does not answer now, beside what is noted otherwise.
func (g *guard) look() {
	s, _ := g.r.now()
	silent := ""
	switch {
	case s.Held != "" || s.agentGone() != "" || s.Phase != Ready:
	case stopped(g.m):
		silent = fmt.Sprintf("a signal has stopped the VMM (kill -CONT %d lets it go on)", g.m.Process().PID)
	case !g.asked.IsZero() && time.Since(g.asked) >= g.lateLimit():
		silent = "the guest's agent has not answered since " + g.asked.Format(time.RFC3339)
	}
	if silent != s.Silent {
		g.r.update(func(s *Status) { s.Silent = silent })
	}
}

// lateLimit is when a ping that is not answered is late: a VMM that waits for a
// processor more than it runs is slow, and its guest with it.
func (g *guard) lateLimit() time.Duration {
	ran, waited := processor(g.m.Process().PID)
	if ran, waited = ran-g.ran, waited-g.waited; waited > time.Second && waited > ran {
		return starvedLate
	}
	return lateLimit
}

// letGo lets a guest go on that its VMM holds still.
func letGo(r *run, m vmm.Machine) {
	c, ok := m.(vmm.Continuer)
	if s, _ := r.now(); !ok || s.Held == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), vmmLimit)
	defer cancel()
	if err := c.Continue(ctx); err != nil {
		r.log.Warn("let the guest go on", "err", err)
	}
}

// hasRoom reports whether the file system of path can take more. A path that is
// not known may have room.
func hasRoom(path string) bool {
	var st unix.Statfs_t
	if path == "" || unix.Statfs(path, &st) != nil {
		return true
	}
	return st.Bavail*uint64(st.Bsize) >= roomNeeded
}

// processor returns how long the threads of a process have run, and how long they have
// waited for a processor (Documentation/scheduler/sched-stats.rst); 0 where the kernel
// does not say.
func processor(pid int) (ran, waited time.Duration) {
	threads, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/schedstat")
	for _, path := range threads {
		text, _ := os.ReadFile(path)
		var r, w time.Duration // in ns
		if n, _ := fmt.Sscan(string(text), &r, &w); n == 2 {
			ran, waited = ran+r, waited+w
		}
	}
	return ran, waited
}

// stopped reports whether a signal has stopped the VMM's process (proc(5): state
// T, or t under a debugger).
func stopped(m vmm.Machine) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(m.Process().PID) + "/stat")
	if err != nil {
		return false
	}
	rest := bytes.TrimSpace(text[bytes.LastIndexByte(text, ')')+1:])
	return len(rest) > 0 && (rest[0] == 'T' || rest[0] == 't')
}

// vmmSilent returns an error if the VMM does not answer, although it runs: a
// signal has stopped it, or it waits for the host. It takes at most vmmLimit.
func vmmSilent(m vmm.Machine) error {
	err := fmt.Errorf("the VMM (pid %d) does not answer", m.Process().PID)
	if stopped(m) {
		return fmt.Errorf("%w: a signal has stopped it", err)
	}
	a, ok := m.(vmm.Asker)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), vmmLimit)
	defer cancel()
	if a.Answers(ctx) != nil {
		select {
		case <-m.Done():
		default:
			return err
		}
	}
	return nil
}

// silence says why the guest's agent does not answer, as well as can be told.
func (r *run) silence(m vmm.Machine) string {
	s, _ := r.now()
	if s.Held != "" {
		return s.Held
	}
	if err := vmmSilent(m); err != nil {
		return err.Error()
	}
	if gone := s.agentGone(); gone != "" {
		return gone
	}
	return "the guest's agent does not answer"
}
