package supervisor

import (
	"testing"
	"time"

	"banger/internal/channel/control"
)

// at is a moment: so long after the host's boot, a guest that has stood still for
// that long in all, and whose clock is ahead.
func at(after, still, ahead time.Duration, synced bool) reading {
	const epoch = int64(1_800_000_000_000_000_000)
	return reading{
		host:  hostClock{boot: int64(after), unix: epoch + int64(after)},
		guest: control.Clock{BootNanos: int64(after - still), UnixNano: epoch + int64(after+ahead), Synced: synced},
		slack: 20 * time.Millisecond,
	}
}

// G8: the guest's clock is set if it is wrong, and what its NTP says is left unless
// the guest stood still.
func TestG8Off(t *testing.T) {
	const s = time.Second
	slow := at(200*s, 0, 3*s, false)
	slow.slack = 10 * s
	for name, c := range map[string]struct {
		last *reading
		now  reading
		want time.Duration
	}{
		"right":                             {nil, at(100*s, 0, 0, false), 0},
		"a bit off":                         {nil, at(100*s, 0, -900*time.Millisecond, false), 0},
		"the host slept":                    {ptr(at(100*s, 0, 0, false)), at(7300*s, 7200*s, -7200*s, false), -7200 * s},
		"the host's clock was set back":     {ptr(at(100*s, 0, 0, false)), at(130*s, 0, 3600*s, false), 3600 * s},
		"set by hand":                       {ptr(at(100*s, 0, 0, false)), at(130*s, 0, -3600*s, false), -3600 * s},
		"known to 5 s only":                 {nil, slow, 0},
		"by NTP, which differs":             {ptr(at(100*s, 0, 30*s, true)), at(130*s, 0, 30*s, true), 0},
		"by NTP, which has just stepped":    {ptr(at(100*s, 0, 0, true)), at(130*s, 0, 30*s, true), 0},
		"by NTP, and the host slept":        {ptr(at(100*s, 0, 0, true)), at(7300*s, 7200*s, -7200*s, true), -7200 * s},
		"by NTP, which mended it itself":    {ptr(at(100*s, 0, 0, true)), at(7300*s, 7200*s, 0, true), 0},
		"by NTP, looked at the first time":  {nil, at(100*s, 7200*s, -7200*s, true), 0},
		"by NTP, stood still before last":   {ptr(at(7300*s, 7200*s, 30*s, true)), at(7330*s, 7200*s, 30*s, true), 0},
		"stood still, and ahead all along ": {ptr(at(100*s, 0, 10*s, false)), at(110*s, 10*s, 0, false), 0},
	} {
		if got := c.now.off(c.last); got != c.want {
			t.Errorf("%s: off = %v, want %v", name, got, c.want)
		}
	}
}

func ptr(r reading) *reading { return &r }
