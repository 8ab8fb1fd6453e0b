package agent

import (
	"testing"
	"time"

	"banger/internal/channel/control"
)

// G8: a session's time sets the clock forward, and not the one that NTP keeps.
func TestG8Behind(t *testing.T) {
	const now = int64(1_800_000_000_000_000_000)
	for _, c := range []struct {
		behind time.Duration
		synced bool
		want   bool
	}{
		{0, false, false},
		{900 * time.Millisecond, false, false},
		{2 * time.Second, false, true},
		{time.Hour, false, true},
		{-time.Hour, false, false}, // a request that was on its way for an hour
		{30 * time.Second, true, false},
		{2 * time.Minute, true, true},
		{-time.Hour, true, false},
	} {
		if got := behind(control.Clock{UnixNano: now - int64(c.behind), Synced: c.synced}, now); got != c.want {
			t.Errorf("behind by %v, synced %v = %v, want %v", c.behind, c.synced, got, c.want)
		}
	}
}

func TestReadClock(t *testing.T) {
	before := time.Now()
	c, err := readClock()
	if err != nil {
		t.Fatal(err)
	}
	if at := time.Unix(0, c.UnixNano); at.Before(before) || at.After(time.Now()) || c.BootNanos <= 0 {
		t.Errorf("readClock = %+v at %v", c, before)
	}
}
