package supervisor

import (
	"context"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/channel/control"
	"banger/internal/vmm"
)

// Intervals and limits of keeping the guest's clock right.
const (
	// clockPause is between two looks at the host's clocks and the VMM,
	// clockEvery between two questions to a guest that nothing happened to.
	clockPause = time.Second
	clockEvery = 30 * time.Second
	// clockRetry is after a question that got no answer in clockLimit.
	clockRetry = 5 * time.Second
	clockLimit = 10 * time.Second
	// clockWrong is how far a clock may be off.
	clockWrong = time.Second
)

// timekeeper keeps a guest's clock right: the host may sleep, the VMM may be
// stopped or hold the guest still, and the guest's time stands still meanwhile.
type timekeeper struct {
	r *run
	m vmm.Machine

	looked time.Time     // the last look
	slept  time.Duration // how long the host has slept since its boot, at the last look
	still  bool          // the guest stood still at the last look
	seen   *reading      // the last one
}

// keep returns at the VMM's end.
func (k *timekeeper) keep() {
	tick := time.NewTicker(clockPause)
	defer tick.Stop()
	due := time.Now().Add(clockEvery)
	k.woke()
	for {
		select {
		case <-k.m.Done():
			return
		case <-tick.C:
		}
		if k.woke() {
			due = time.Time{}
		}
		if s, _ := k.r.now(); k.still || s.Phase != Ready || s.agentGone() != "" || time.Now().Before(due) {
			continue
		}
		due = time.Now().Add(clockEvery)
		if err := k.check(); err != nil {
			k.r.log.Warn("keep the guest's clock", "err", err)
			due = time.Now().Add(clockRetry)
		}
		k.looked = time.Now()
	}
}

// woke reports whether the guest's time may have stood still since the last call:
// the host has slept, or the guest goes on that was held, or this process does, with
// which the VMM may have been stopped.
func (k *timekeeper) woke() bool {
	_, slept := hostClocks()
	s, _ := k.r.now()
	still := s.Held != "" || stopped(k.m)
	woke := slept-k.slept > clockWrong || k.still && !still || time.Since(k.looked) > 5*clockPause
	k.looked, k.slept, k.still = time.Now(), slept, still
	return woke
}

// check compares the guest's clock with the host's, and sets it if it is wrong.
func (k *timekeeper) check() error {
	ctx, cancel := context.WithTimeout(context.Background(), clockLimit)
	defer cancel()
	guest := k.r.guest(k.m)
	before, _ := hostClocks()
	c, err := guest.Clock(ctx)
	if err != nil {
		return err
	}
	after, _ := hostClocks()
	now := reading{guest: c, slack: time.Duration(after.boot - before.boot)}
	now.host.boot = before.boot + int64(now.slack/2)
	now.host.unix = after.unix - int64(now.slack/2)
	last := k.seen
	if off := now.off(last); off != 0 {
		if err := guest.SetClock(ctx, control.ClockSet{BootUnixNano: now.host.unix - c.BootNanos}); err != nil {
			return err
		}
		k.r.log.Info("set the guest's clock", "was_off", off.Round(time.Millisecond))
	}
	k.seen = &now
	return nil
}

// hostClock is a moment by the host's CLOCK_BOOTTIME and CLOCK_REALTIME, in
// nanoseconds.
type hostClock struct{ boot, unix int64 }

// hostClocks reads the host's clocks, and how long the host has slept since its
// boot: CLOCK_MONOTONIC stands still meanwhile, and CLOCK_BOOTTIME does not.
func hostClocks() (c hostClock, slept time.Duration) {
	var boot, mono, real unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono) // none of them fails: the kernel has them since 2.6.39
	unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot)
	unix.ClockGettime(unix.CLOCK_REALTIME, &real)
	return hostClock{boot.Nano(), real.Nano()}, time.Duration(boot.Nano() - mono.Nano())
}

// reading is both sides' clocks at one moment, which is known to half of slack.
type reading struct {
	host  hostClock
	guest control.Clock
	slack time.Duration
}

// off is how far the guest's clock is ahead, if it is to be set; 0 if not. What the
// guest's own NTP says is right, unless the guest's time stood still since last.
func (r reading) off(last *reading) time.Duration {
	off := time.Duration(r.guest.UnixNano - r.host.unix)
	if off.Abs() <= clockWrong+r.slack/2 || r.guest.Synced && !r.stoodStill(last) {
		return 0
	}
	return off
}

// stoodStill reports whether less time went by in the guest since last than on the
// host.
func (r reading) stoodStill(last *reading) bool {
	if last == nil {
		return false
	}
	host, guest := r.host.boot-last.host.boot, r.guest.BootNanos-last.guest.BootNanos
	return time.Duration(host-guest) > clockWrong+(r.slack+last.slack)/2
}
