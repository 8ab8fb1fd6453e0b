package instance

import (
	"context"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/progress"
	"banger/internal/vm"
)

// ticksPerSecond is the unit of a process's start time (proc(5), starttime);
// Linux gives it to programs as 100 on every machine.
const ticksPerSecond = 100

// EndsAt is when the run will be stopped because its time to live is over; zero
// for never. The time is counted by the host's boot clock, which no change of
// the date moves.
func (v View) EndsAt() time.Time {
	left, ok := v.left()
	if !ok {
		return time.Time{}
	}
	return time.Now().Add(left).UTC().Truncate(time.Second)
}

func (v View) left() (time.Duration, bool) {
	p := v.Record.Run.Supervisor
	ttl := v.Record.Spec.TTLSeconds
	var now unix.Timespec
	if ttl == 0 || !v.HasRun || p == nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) != nil {
		return 0, false
	}
	started := time.Duration(p.StartTicks) * (time.Second / ticksPerSecond)
	return started + time.Duration(ttl)*time.Second - time.Duration(now.Nano()), true
}

// endOverdue stops a VM whose time to live is over.
func (i *Instance) endOverdue() {
	v := i.View()
	if left, ok := v.left(); !ok || left > 0 || v.Record.State != vm.Running {
		return
	}
	i.log.Info("its time to live is over")
	i.slot.spawn(stopVerb, func(ctx context.Context, step progress.Func) error { return i.stop(ctx, step) })
}
