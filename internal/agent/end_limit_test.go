package agent

import (
	"testing"
	"testing/synctest"
	"time"

	"banger/internal/channel/control"
)

// An end has its time, and a guest that works more of it, as long as it does.
func TestEndLimit(t *testing.T) {
	for _, c := range []struct {
		what       string
		grace, max time.Duration
		works      time.Duration // for how long the guest works
		share      float64       // of the time, from its processors together
		want       time.Duration
	}{
		{"idle", 10 * time.Second, 30 * time.Second, time.Hour, 0.2, 10 * time.Second},
		{"at work to the end", 10 * time.Second, 30 * time.Second, time.Hour, 0.9, 30 * time.Second},
		{"two processors at work", 10 * time.Second, 30 * time.Second, time.Hour, 1.8, 30 * time.Second},
		{"at work for a while", 10 * time.Second, 30 * time.Second, 14500 * time.Millisecond, 1, 16 * time.Second},
		{"at work, with no more time", 10 * time.Second, 0, time.Hour, 1, 10 * time.Second},
		{"less than a step is left", 29 * time.Second, 30 * time.Second, time.Hour, 1, 30 * time.Second},
		{"none", 0, 0, time.Hour, 1, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			told := 0
			read := func() (time.Duration, bool) {
				return time.Duration(float64(min(time.Since(begin), c.works)) * c.share), true
			}
			l := newEndLimit(control.End{GraceMillis: c.grace.Milliseconds(), WorkMillis: c.max.Milliseconds()}, read, func() { told++ })
			for !l.over() {
				time.Sleep(min(askAgain, l.left()))
			}
			if took := time.Since(begin); took != c.want || told != min(1, int((c.want-c.grace)/time.Second)) {
				t.Errorf("%s: over after %v, told %d times, want %v", c.what, took, told, c.want)
			}
		})
	}
	l := newEndLimit(control.End{WorkMillis: 1000}, func() (time.Duration, bool) { return 0, false }, func() { t.Error("told") })
	if !l.over() {
		t.Error("a guest whose work is not known has more time")
	}
}

func TestParseWork(t *testing.T) {
	for _, c := range []struct {
		text string
		want time.Duration
		ok   bool
	}{
		{"cpu  100 20 3 9999 4 5 6 7 1000 1000\ncpu0 1 1 1 1 1\n", 1450 * time.Millisecond, true},
		{"cpu  1 1 1 1 1\n", 40 * time.Millisecond, true},
		{"cpu0 1 1 1 1 1 1\n", 0, false},
		{"cpu  1 x 1 1 1 1\n", 0, false},
		{"cpu  1 1", 0, false},
		{"", 0, false},
	} {
		if got, ok := parseWork([]byte(c.text)); got != c.want || ok != c.ok {
			t.Errorf("parseWork(%q) = %v, %v, want %v, %v", c.text, got, ok, c.want, c.ok)
		}
	}
	if d, ok := readWork(); !ok || d <= 0 {
		t.Errorf("readWork = %v, %v", d, ok)
	}
}
