package supervisor

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/channel/control"
	"banger/internal/vm"
	"banger/internal/vmm"
)

// Limits of an end.
const (
	graceKVM    = 10 * time.Second // for the guest's services
	graceSlow   = 30 * time.Second // of an emulated guest, on a host that shuts down, or of one that works at its end
	graceOver   = 5 * time.Second  // the agent forces the end after its grace; ours is the backstop
	syncLimit   = 5 * time.Second
	killLimit   = time.Second // from the signal of a kill to SIGKILL
	launchLimit = time.Second // for a launch that was given up, to give back what it took

	// askLimit is how long an agent may take to accept an end, goneLimit how long a
	// VM may go on whose agent is known to be gone, and is not back backLimit after its
	// end, heldLimit how long one that could not be let go on.
	askLimit  = 15 * time.Second
	goneLimit = 3 * time.Second
	backLimit = 12 * time.Second
	heldLimit = 5 * time.Second
	askAgain  = time.Second
	// stageLimit is how long an agent's last words may take after the VMM's end: they
	// are in the host's memory by then.
	stageLimit = 500 * time.Millisecond
)

// end ends a ready guest as q asks. It returns when the VMM is gone.
func (r *run) end(m vmm.Machine, q request) vm.Ending {
	if q.stop == nil {
		return *r.kill(m, q.kill)
	}
	r.update(func(s *Status) { s.Phase = Ending })
	var asking sync.WaitGroup
	defer asking.Wait()
	asking.Go(func() { letGo(r, m) }) // ends with the VMM, or after vmmLimit
	r.saveCoverage(r.guest(m))
	discard, host := q.stop.Discard, q.stop.host
	force, next := "", (*request)(nil)
	if !discard {
		r.update(func(s *Status) { s.Text = "stopping the guest's services" })
		grace := graceKVM
		if host || r.order.Emulated() { // a host that shuts down ends all it has at once
			grace = graceSlow
		}
		force, next = r.shutDown(m, grace)
		discard = next != nil && next.stop != nil
	}
	if discard {
		r.update(func(s *Status) { s.Text = "syncing the guest's disk" })
		force, next = r.sync(m)
	}
	if next != nil && next.stop == nil {
		return *r.kill(m, next.kill)
	}
	m.Close()
	e := ended(vm.CauseStopped, force)
	e.Forced = force != ""
	if host && force == "" {
		e.Detail = "the host asked for it, as its shutdown does"
	}
	if e.Forced {
		r.log.Warn("ended by force", "why", force)
	}
	return *e
}

// kill sends the VMM a signal, and SIGKILL if it lives on after that. It returns
// when the VMM is gone.
func (r *run) kill(m vmm.Machine, sig unix.Signal) *vm.Ending {
	name := unix.SignalName(sig)
	r.update(func(s *Status) { s.Phase, s.Text = Ending, "ending the VMM by "+name })
	m.Signal(sig) // an error says that it is gone
	soon := time.NewTimer(killLimit)
	defer soon.Stop()
	for {
		select {
		case q := <-r.requests:
			q.reply <- nil
			if q.stop == nil {
				m.Signal(q.kill)
			}
			continue
		case <-m.Done():
		case <-soon.C:
		}
		break
	}
	m.Close()
	return ended(vm.CauseKilled, "the VMM was sent "+name)
}

// shutDown asks the guest's agent to end the guest and waits for the VMM's end.
// It returns why the VMM has to be ended by force, or the request that came in
// between and changes the way: a kill, or a stop that discards.
func (r *run) shutDown(m vmm.Machine, grace time.Duration) (force string, next *request) {
	ctx, cancel := context.WithTimeout(context.Background(), graceSlow+graceOver)
	defer cancel()
	over := time.NewTimer(grace + graceOver)
	defer over.Stop()
	guest := r.guest(m)
	stages := make(chan string)
	failed := make(chan error, 1)
	ask := func() { // ends with ctx at the latest; failed has room
		failed <- guest.End(ctx, control.End{GraceMillis: grace.Milliseconds(), WorkMillis: graceSlow.Milliseconds()}, func(e control.EndEvent) {
			select {
			case stages <- e.Stage:
			case <-ctx.Done():
			}
		})
	}
	go ask()
	limit := time.After(askLimit)
	silent := make(chan string, 1)
	tick := time.NewTicker(askAgain)
	defer tick.Stop()
	accepted, asking := false, true
	var said string // why the agent's force
	begin := time.Now()
	hear := func(stage string) {
		accepted = true
		switch stage {
		case "works":
			r.update(func(s *Status) { s.Text = "stopping the guest's services, which are at work" })
			over.Reset(graceSlow + graceOver - time.Since(begin))
		case "forced":
			said = "the guest's services did not end in time"
			r.update(func(s *Status) { s.Text = said + ": forcing" })
		}
	}
	for {
		select {
		case <-m.Done():
			if !asking {
				return said, nil
			}
			// The agent's last stages may be on their way.
			select {
			case stage := <-stages:
				hear(stage)
			case <-failed:
				asking = false
			case <-time.After(stageLimit):
				asking = false
			}
		case stage := <-stages:
			hear(stage)
		case err := <-failed:
			asking = false
			if err != nil && !accepted {
				r.log.Warn("ask the guest to end", "err", err)
			}
		case q := <-r.requests:
			q.reply <- nil
			if q.stop == nil || q.stop.Discard {
				return "", &q
			}
		case <-limit:
			if !accepted {
				go func() { silent <- r.silence(m) }() // ends after vmmLimit; silent has room
			}
		case why := <-silent:
			if !accepted {
				return why, nil
			}
		case <-over.C:
			return "the guest did not end in its time", nil
		case <-tick.C:
			s, _ := r.now()
			switch {
			case s.Held != "" && time.Since(begin) > heldLimit && time.Since(s.HeldSince) > heldLimit:
				return s.Held, nil
			case accepted:
			case s.agentGone() != "" && time.Since(begin) > goneLimit && time.Since(s.AgentGoneSince) > backLimit:
				return s.agentGone(), nil
			case !asking:
				asking = true
				go ask()
			case stopped(m):
				r.update(func(s *Status) { s.Text = vmmSilent(m).Error() })
			}
		}
	}
}

// sync waits until the guest's file systems are on its disk, at most syncLimit.
// What it returns is as of shutDown.
func (r *run) sync(m vmm.Machine) (force string, next *request) {
	ctx, cancel := context.WithTimeout(context.Background(), syncLimit)
	defer cancel()
	synced := make(chan string, 1)
	go func() { // ends vmmLimit after ctx at the latest; synced has room
		err := r.guest(m).Sync(ctx)
		if err == nil {
			synced <- ""
			return
		}
		r.log.Warn("sync before the end", "err", err)
		synced <- "the guest's disk was not synced: " + r.silence(m)
	}()
	for {
		select {
		case <-m.Done():
			return "", nil
		case force := <-synced:
			return force, nil
		case q := <-r.requests:
			q.reply <- nil
			if q.stop == nil {
				return "", &q
			}
		}
	}
}
