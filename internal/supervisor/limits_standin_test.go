//go:build standin

package supervisor_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"banger/internal/process"
	"banger/internal/supervisor"
	"banger/internal/vm"
	"banger/internal/vmm/standin"
)

// Limits of an end that waits for no service of the guest's.
const (
	discardLimit = 8 * time.Second
	killLimit    = 2 * time.Second
)

// A guest that does not answer holds up no end.
func TestLimitsOfEnds(t *testing.T) {
	var (
		booting = func(t *testing.T, g *guest) {
			g.until(t, "booting", func(s supervisor.Status) bool { return s.Phase == supervisor.Booting })
		}
		launching = func(*testing.T, *guest) {}
		ready     = func(t *testing.T, g *guest) { g.ready(t) }
		stopping  = func(s supervisor.Stop) func(*testing.T, *guest) {
			return func(t *testing.T, g *guest) {
				g.ready(t)
				if err := g.Stop(limited(t), s); err != nil {
					t.Fatal(err)
				}
				g.until(t, "ending", func(s supervisor.Status) bool { return s.Phase == supervisor.Ending })
			}
		}
		held = func(t *testing.T, g *guest) {
			g.ready(t)
			g.exec(t, "fill")
			g.until(t, "held", func(s supervisor.Status) bool { return s.Held != "" })
		}
		noHello, noSync, noEnd = standin.Behaviour{NoHello: true}, standin.Behaviour{NoSync: true}, standin.Behaviour{NoEnd: true}
		diskFull               = standin.Behaviour{DiskFull: true}
		discard, cancelled     = &supervisor.Stop{Discard: true}, &supervisor.Stop{Discard: true, Cancelled: true}
	)
	for name, c := range map[string]struct {
		behaviour standin.Behaviour
		before    func(*testing.T, *guest)
		stop      *supervisor.Stop // nil: a kill
		signal    string
		cause     string
	}{
		"abandoned while launching": {noHello, launching, cancelled, "", vm.CauseCancelled},
		"abandoned while booting":   {noHello, booting, cancelled, "", vm.CauseCancelled},
		"abandoned when ready":      {noSync, ready, cancelled, "", vm.CauseStopped},
		"deleted while booting":     {noHello, booting, discard, "", vm.CauseStopped},
		"deleted without a sync":    {noSync, ready, discard, "", vm.CauseStopped},
		"deleted in a stop":         {standin.Behaviour{NoEnd: true, NoSync: true}, stopping(supervisor.Stop{}), discard, "", vm.CauseStopped},
		"deleted while held":        {diskFull, held, discard, "", vm.CauseStopped},
		"killed while launching":    {noHello, launching, nil, "", vm.CauseKilled},
		"killed while booting":      {noHello, booting, nil, "", vm.CauseKilled},
		"TERM while booting":        {noHello, booting, nil, "TERM", vm.CauseKilled},
		"killed when ready":         {noSync, ready, nil, "", vm.CauseKilled},
		"TERM when ready":           {noSync, ready, nil, "TERM", vm.CauseKilled},
		"killed in a stop":          {noEnd, stopping(supervisor.Stop{}), nil, "", vm.CauseKilled},
		"TERM in a stop":            {noEnd, stopping(supervisor.Stop{}), nil, "TERM", vm.CauseKilled},
		"killed in a sync":          {noSync, stopping(*discard), nil, "", vm.CauseKilled},
		"killed while held":         {diskFull, held, nil, "", vm.CauseKilled},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := start(t, self(t), c.behaviour)
			c.before(t, g)
			begin, limit := time.Now(), killLimit
			var err error
			if c.stop != nil {
				limit = discardLimit
				err = g.Stop(limited(t), *c.stop)
			} else {
				err = g.Kill(limited(t), supervisor.Kill{Signal: c.signal})
			}
			if err != nil {
				t.Fatal(err)
			}
			s := g.until(t, "the end", func(s supervisor.Status) bool { return s.Phase == supervisor.Gone })
			if took := time.Since(begin); took > limit {
				t.Errorf("the end took %v, want at most %v", took, limit)
			}
			if e := s.Ending; e.Cause != c.cause {
				t.Errorf("ending is %s, %q; want %s", e.Cause, e.Detail, c.cause)
			}
		})
	}
}

// A supervisor that can't write the end down says it, and ends.
func TestEndThatIsNotWritten(t *testing.T) {
	t.Parallel()
	g := start(t, self(t), standin.Behaviour{EndDelayMillis: 500}) // time to follow it
	g.ready(t)
	if err := os.MkdirAll(filepath.Join(g.dir, supervisor.RunFile, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	own, err := process.Open(g.supervisor)
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	if err := g.Stop(limited(t), supervisor.Stop{}); err != nil {
		t.Fatal(err)
	}
	s := g.until(t, "the end", func(s supervisor.Status) bool { return s.Phase == supervisor.Gone })
	if s.Ending == nil || s.Ending.Cause != vm.CauseStopped {
		t.Errorf("the stream of events ends with %+v, want that it was stopped", s.Ending)
	}
	if err := own.Wait(limited(t)); err != nil {
		t.Errorf("the supervisor does not end: %v", err)
	}
	if held, _, err := supervisor.Held(g.dir); held || err != nil {
		t.Errorf("Held = %v, %v; want the lock free", held, err)
	}
	if _, err := supervisor.ReadEnding(g.dir); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Errorf("ReadEnding = %v, want an error that is not absence", err)
	}
	if _, err := os.Stat(supervisor.RunDir(g.dir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory of sockets: %v, want none", err)
	}
}
