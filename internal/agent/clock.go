package agent

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/channel/control"
)

// How far the clock may be behind what a session says. A request may have been on
// its way for a while, so it is never late by it. The time that NTP keeps is left
// alone, unless that has slept too.
const (
	behindLimit       = time.Second
	behindLimitSynced = time.Minute
)

// readClock reads the guest's clocks.
func readClock() (c control.Clock, err error) {
	var boot, real unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot); err != nil {
		return c, err
	}
	if err := unix.ClockGettime(unix.CLOCK_REALTIME, &real); err != nil {
		return c, err
	}
	var t unix.Timex
	if _, err := unix.Adjtimex(&t); err != nil {
		return c, err
	}
	return control.Clock{BootNanos: boot.Nano(), UnixNano: real.Nano(), Synced: t.Status&unix.STA_UNSYNC == 0}, nil
}

// setTime sets the guest's time.
func setTime(unixNano int64) error {
	ts := unix.NsecToTimespec(unixNano)
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &ts); err != nil {
		return fmt.Errorf("set the clock: %w", err)
	}
	return nil
}

// clock reads the guest's clocks. NTP that follows this agent's answers follows the guest's
// own clock: it is no better source.
func (a *agent) clock() (control.Clock, error) {
	c, err := readClock()
	if n := a.network.Load(); n != nil && n.AnsweredTime() {
		c.Synced = false
	}
	return c, err
}

// Clock implements control.Service: the host asks, and sets the clock if it is wrong.
func (a *agent) Clock(context.Context) (control.Clock, error) {
	if n := a.network.Load(); n != nil {
		n.ClockChecked()
	}
	return a.clock()
}

// SetClock implements control.Service.
func (a *agent) SetClock(_ context.Context, s control.ClockSet) error {
	c, err := readClock()
	if err != nil {
		return err
	}
	return setTime(s.BootUnixNano + c.BootNanos)
}

// hearTime sets the clock of a guest that is behind the time of a new session.
func (a *agent) hearTime(unixNano int64) {
	c, err := a.clock()
	if err == nil && behind(c, unixNano) {
		err = setTime(unixNano)
	}
	if err != nil {
		say("%v", err)
	}
}

func behind(c control.Clock, unixNano int64) bool {
	limit := behindLimit
	if c.Synced {
		limit = behindLimitSynced
	}
	return unixNano-c.UnixNano > int64(limit)
}
