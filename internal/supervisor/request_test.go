package supervisor

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

var phases = []Phase{Launching, Booting, Joining, Ready, Ending, Gone}

// An end can be asked for in any phase, a session only of a guest that is up.
func TestTakes(t *testing.T) {
	for _, p := range phases {
		if _, ok := takes[p]; !ok {
			t.Errorf("the table lacks the phase %s", p)
		}
		for v, want := range map[verb]bool{
			verbStop: true, verbKill: true, verbDial: p == Ready || p == Ending, verbHealth: p == Ready || p == Ending, "other": false,
		} {
			err := check(p, v)
			var refusal *Refusal
			if want && err != nil || !want && (!errors.As(err, &refusal) || refusal.Code != CodeState) {
				t.Errorf("check(%s, %s) = %v, want it taken: %v", p, v, err, want)
			}
		}
	}
	if len(takes) != len(phases) {
		t.Errorf("the table has %d phases, want %d", len(takes), len(phases))
	}
}

func TestKillSignal(t *testing.T) {
	for s, want := range map[string]unix.Signal{
		"": unix.SIGKILL, "SIGTERM": unix.SIGTERM, "term": unix.SIGTERM, "Kill": unix.SIGKILL, "9": 0, "SIGSIGTERM": 0, "x": 0,
	} {
		if got, err := (Kill{s}).number(); got != want || (err == nil) != (want != 0) {
			t.Errorf("Kill{%q}.number() = %v, %v; want %v", s, got, err, want)
		}
	}
}

// Each code has a status, so that no refusal is answered with 0.
func TestStatuses(t *testing.T) {
	for _, code := range []string{CodeInvalid, CodeState, CodeSilent, CodeInternal} {
		if statuses[code] < 400 {
			t.Errorf("code %q has the HTTP status %d", code, statuses[code])
		}
	}
}
