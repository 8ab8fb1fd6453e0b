//go:build standin

package supervisor_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"banger/internal/channel"
	"banger/internal/process"
	"banger/internal/supervisor"
	"banger/internal/vm"
	"banger/internal/vmm/standin"
)

func TestLife(t *testing.T) {
	t.Parallel()
	g := start(t, self(t), standin.Behaviour{})
	s := g.ready(t)
	if s.Protocol != supervisor.Protocol || s.BootID == "" || s.VMM == nil || s.Supervisor != g.supervisor {
		t.Errorf("ready with %+v, want protocol, boot id, VMM and the supervisor %+v", s, g.supervisor)
	}
	if held, by, err := supervisor.Held(g.dir); !held || by == nil || *by != g.supervisor || err != nil {
		t.Errorf("Held = %v, %+v, %v; want the supervisor", held, by, err)
	}
	if _, err := supervisor.TakeLock(g.dir); !errors.Is(err, supervisor.ErrHeld) {
		t.Errorf("TakeLock of a run: %v, want ErrHeld", err)
	}
	if h, err := g.Health(limited(t)); err != nil || h.Init != "agent" {
		t.Errorf("Health = %+v, %v", h, err)
	}
	if st, err := g.exec(t, "sh", "-c", "exit 7"); err != nil || st.Code != 7 {
		t.Errorf("exec ended with %+v, %v; want 7", st, err)
	}
	var console bytes.Buffer
	if err := g.Console(limited(t), false, false, &console); err != nil || !strings.Contains(console.String(), "Linux version") {
		t.Errorf("Console = %q, %v", console.String(), err)
	}
	if err := g.Stop(limited(t), supervisor.Stop{}); err != nil {
		t.Errorf("Stop: %v", err)
	}
	g.wants(t, g.gone(t), vm.CauseStopped, "", false)
}

func TestDiscard(t *testing.T) {
	t.Parallel()
	g := start(t, self(t), standin.Behaviour{NoEnd: true})
	g.ready(t)
	if err := errors.Join(g.Stop(limited(t), supervisor.Stop{}), g.Stop(limited(t), supervisor.Stop{Discard: true})); err != nil {
		t.Errorf("Stop: %v", err)
	}
	g.wants(t, g.gone(t), vm.CauseStopped, "", false)
}

func TestKill(t *testing.T) {
	for _, sig := range []string{"", "SIGKILL", "TERM", "hup", "SIGINT", "USR1"} {
		t.Run("signal="+sig, func(t *testing.T) {
			t.Parallel()
			g := start(t, self(t), standin.Behaviour{NoEnd: true})
			g.ready(t)
			begin := time.Now()
			if err := g.Kill(limited(t), supervisor.Kill{Signal: sig}); err != nil {
				t.Fatalf("Kill: %v", err)
			}
			g.wants(t, g.gone(t), vm.CauseKilled, "SIG", false)
			if d := time.Since(begin); d > 15*time.Second {
				t.Errorf("the end took %v", d)
			}
		})
	}
	t.Run("unknown", func(t *testing.T) {
		t.Parallel()
		g := start(t, self(t), standin.Behaviour{})
		var refusal *supervisor.Refusal
		if err := g.Kill(limited(t), supervisor.Kill{Signal: "HUPP"}); !errors.As(err, &refusal) || refusal.Code != supervisor.CodeInvalid {
			t.Errorf("Kill by an unknown signal: %v, want it refused", err)
		}
	})
	t.Run("in a graceful stop", func(t *testing.T) {
		t.Parallel()
		g := start(t, self(t), standin.Behaviour{NoEnd: true})
		g.ready(t)
		if err := errors.Join(g.Stop(limited(t), supervisor.Stop{}), g.Kill(limited(t), supervisor.Kill{})); err != nil {
			t.Fatal(err)
		}
		g.wants(t, g.gone(t), vm.CauseKilled, "SIGKILL", false)
	})
}

// A logout sends SIGTERM and SIGHUP: the graceful end goes on.
func TestSignalsOfALogout(t *testing.T) {
	t.Parallel()
	g := start(t, self(t), standin.Behaviour{EndDelayMillis: 500})
	g.ready(t)
	for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE} {
		syscall.Kill(g.supervisor.PID, sig)
	}
	if s, err := g.Status(limited(t)); err != nil || s.Phase != supervisor.Ready {
		t.Fatalf("after SIGHUP, SIGQUIT, SIGPIPE: %+v, %v; want ready", s, err)
	}
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP, syscall.SIGTERM} {
		syscall.Kill(g.supervisor.PID, sig)
	}
	g.wants(t, g.gone(t), vm.CauseStopped, "the host asked for it", false)
}

func TestEarlyEnds(t *testing.T) {
	for name, c := range map[string]struct {
		behaviour     standin.Behaviour
		do            func(*testing.T, *guest) error
		cause, detail string
	}{
		"launch fails":       {standin.Behaviour{LaunchError: "out of luck"}, nil, vm.CauseBoot, "out of luck"},
		"panic":              {standin.Behaviour{Panic: "no root"}, nil, vm.CausePanic, "Kernel panic - not syncing: no root"},
		"stop while booting": {standin.Behaviour{NoHello: true}, func(t *testing.T, g *guest) error { return g.Stop(limited(t), supervisor.Stop{}) }, vm.CauseStopped, "before the guest was up"},
		"cancelled":          {standin.Behaviour{NoHello: true}, func(t *testing.T, g *guest) error { return g.Stop(limited(t), supervisor.Stop{Cancelled: true}) }, vm.CauseCancelled, "before the guest was up"},
		"kill while booting": {standin.Behaviour{NoHello: true}, func(t *testing.T, g *guest) error { return g.Kill(limited(t), supervisor.Kill{}) }, vm.CauseKilled, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := start(t, self(t), c.behaviour)
			if c.do != nil {
				if err := c.do(t, g); err != nil {
					t.Fatal(err)
				}
			}
			if e := g.gone(t); e.Cause != c.cause || !strings.Contains(e.Detail, c.detail) {
				t.Errorf("ending is %s, %q; want %s, %q", e.Cause, e.Detail, c.cause, c.detail)
			}
		})
	}
}

func TestGuestEndsItself(t *testing.T) {
	for command, want := range map[string]string{"reboot": vm.CauseGuest, "poweroff": vm.CauseGuest, "panic": vm.CausePanic} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			g := start(t, self(t), standin.Behaviour{})
			g.ready(t)
			g.exec(t, command) // it breaks with the guest
			if e := g.gone(t); e.Cause != want {
				t.Errorf("ending is %s, %q; want %s", e.Cause, e.Detail, want)
			}
		})
	}
}

// Whoever dies, the other does not stay.
func TestSudden(t *testing.T) {
	t.Run("VMM", func(t *testing.T) {
		t.Parallel()
		g := start(t, self(t), standin.Behaviour{})
		syscall.Kill(g.ready(t).VMM.PID, syscall.SIGKILL)
		g.wants(t, g.gone(t), vm.CauseVMM, "signal 9", false)
	})
	t.Run("supervisor", func(t *testing.T) {
		t.Parallel()
		g := start(t, self(t), standin.Behaviour{})
		p := *g.ready(t).VMM
		h, err := process.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		own, err := process.Open(g.supervisor)
		if err != nil {
			t.Fatal(err)
		}
		defer own.Close()
		own.Kill()
		// The VMM ends with a thread of the supervisor, the lock with the last one.
		if err := errors.Join(own.Wait(limited(t)), h.Wait(limited(t))); err != nil {
			t.Errorf("the VMM lives on without its supervisor: %v", err)
		}
		if held, _, err := supervisor.Held(g.dir); held || err != nil {
			t.Errorf("Held of a dead supervisor's run = %v, %v", held, err)
		}
	})
}

// Cleaners of old files take the directory of sockets away.
func TestSweptRunDir(t *testing.T) {
	t.Parallel()
	g := start(t, self(t), standin.Behaviour{})
	g.ready(t)
	if err := os.RemoveAll(supervisor.RunDir(g.dir)); err != nil {
		t.Fatal(err)
	}
	for ctx := limited(t); ; time.Sleep(50 * time.Millisecond) {
		if s, err := g.Status(ctx); err == nil {
			if s.Phase != supervisor.Ready {
				t.Errorf("the run is %s, want ready", s.Phase)
			}
			break
		} else if ctx.Err() != nil {
			t.Fatalf("the socket is not made anew: %v", err)
		}
	}
	if h, err := g.Health(limited(t)); err != nil || h.Init != "agent" {
		t.Errorf("Health = %+v, %v", h, err)
	}
	if st, err := g.exec(t, "sh", "-c", "exit 7"); err != nil || st.Code != 7 {
		t.Errorf("exec: %+v, %v; want 7", st, err)
	}
	if fi, err := os.Stat(supervisor.SocketPath(g.dir)); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("the new socket: %v, %v; want mode 0600", fi, err)
	}
	if err := g.Stop(limited(t), supervisor.Stop{}); err != nil {
		t.Errorf("Stop: %v", err)
	}
	g.wants(t, g.gone(t), vm.CauseStopped, "", false)
}

func TestAgentGone(t *testing.T) {
	t.Parallel()
	g := start(t, self(t), standin.Behaviour{})
	g.ready(t)
	session := g.command(t, "sleep", "1000")
	g.behave(t, standin.Behaviour{AgentGone: true})
	g.until(t, "the agent gone", func(s supervisor.Status) bool { return !s.AgentGoneSince.IsZero() })
	if st, err := session(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the session of a dead agent ended with %+v, %v; want it broken", st, err)
	}
	if _, _, refusal := g.dial(t, channel.PortExec); refusal == nil || refusal.Code != supervisor.CodeSilent || !strings.Contains(refusal.Message, "the guest's agent does not answer (gone since ") {
		t.Errorf("dial: %+v, want words", refusal)
	}
	begin := time.Now()
	if err := g.Stop(limited(t), supervisor.Stop{}); err != nil {
		t.Errorf("Stop: %v", err)
	}
	g.wants(t, g.gone(t), vm.CauseStopped, "the guest's agent does not answer", true)
	if d := time.Since(begin); d > 20*time.Second {
		t.Errorf("the stop took %v", d)
	}
}

// An agent that is gone comes back, and its guest stops well.
func TestAgentBack(t *testing.T) {
	t.Parallel()
	g := start(t, self(t), standin.Behaviour{})
	g.ready(t)
	g.behave(t, standin.Behaviour{AgentGone: true})
	g.until(t, "the agent gone", func(s supervisor.Status) bool { return !s.AgentGoneSince.IsZero() })
	g.behave(t, standin.Behaviour{})
	s := g.until(t, "the agent back", func(s supervisor.Status) bool { return s.AgentGoneSince.IsZero() })
	if s.AgentEndedAt.IsZero() {
		t.Error("the agent is back, and nothing says that its sessions ended")
	}
	if st, err := g.exec(t, "true"); err != nil || st.Code != 0 {
		t.Errorf("exec: %+v, %v", st, err)
	}
	g.Stop(limited(t), supervisor.Stop{})
	g.wants(t, g.gone(t), vm.CauseStopped, "", false)
}

// A stop that comes while the agent is gone waits for the next one.
func TestStopWhileAgentIsGone(t *testing.T) {
	t.Parallel()
	g := start(t, self(t), standin.Behaviour{})
	g.ready(t)
	g.behave(t, standin.Behaviour{AgentGone: true})
	g.until(t, "the agent gone", func(s supervisor.Status) bool { return !s.AgentGoneSince.IsZero() })
	if err := g.Stop(limited(t), supervisor.Stop{}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(5 * time.Second) // longer than it once waited
	g.behave(t, standin.Behaviour{})
	g.wants(t, g.gone(t), vm.CauseStopped, "", false)
}

// What the guest's kernel kills for want of memory is said, while it runs and after.
func TestOutOfMemory(t *testing.T) {
	t.Parallel()
	g := start(t, self(t), standin.Behaviour{})
	g.ready(t)
	g.behave(t, standin.Behaviour{OutOfMemory: "pe\x1b[31mrl"})
	s := g.until(t, "the kill", func(s supervisor.Status) bool { return s.OutOfMemory != nil })
	if p := s.OutOfMemory.Process; p != `pe\x1b[31mrl` {
		t.Errorf("the process is %q, want it escaped", p)
	}
	if d := time.Since(s.OutOfMemory.At); d < -time.Second || d > time.Minute {
		t.Errorf("the kill was at %v", s.OutOfMemory.At)
	}
	if !s.AgentGoneSince.IsZero() {
		t.Error("the agent is gone with it")
	}
	g.Stop(limited(t), supervisor.Stop{})
	end := g.until(t, "the end", func(s supervisor.Status) bool { return s.Phase == supervisor.Gone })
	g.wants(t, g.gone(t), vm.CauseStopped, "", false)
	if end.OutOfMemory == nil || *end.OutOfMemory != *s.OutOfMemory {
		t.Errorf("at the end it was %+v, want %+v", end.OutOfMemory, s.OutOfMemory)
	}
}

func TestVMMStopped(t *testing.T) {
	t.Parallel()
	g := start(t, self(t), standin.Behaviour{})
	p := g.ready(t).VMM
	pids := stopVMM(t, p)
	h, err := process.Open(*p)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	words := fmt.Sprintf("the VMM (pid %d) does not answer", p.PID)
	g.until(t, "silence", func(s supervisor.Status) bool { return strings.HasPrefix(s.Silent, "a signal has stopped the VMM") })
	if _, _, refusal := g.dial(t, channel.PortExec); refusal == nil || !strings.Contains(refusal.Message, words) {
		t.Errorf("dial: %+v, want %q", refusal, words)
	}
	if _, err := g.Health(limited(t)); err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("Health: %v, want %q", err, words)
	}
	if s, err := g.Status(limited(t)); err != nil || s.Phase != supervisor.Ready {
		t.Errorf("Status = %+v, %v; want ready", s, err)
	}
	if err := g.Stop(limited(t), supervisor.Stop{}); err != nil {
		t.Errorf("Stop: %v", err)
	}
	g.until(t, "words", func(s supervisor.Status) bool { return strings.Contains(s.Text, words) })
	if err := h.Wait(limited(t)); err != nil {
		t.Errorf("the VMM is not ended: %v", err)
	}
	syscall.Kill(pids[0], syscall.SIGCONT) // a stand-in's guest is a process, and hears of the end only so
	g.wants(t, g.gone(t), vm.CauseStopped, words, true)
}

func TestDiskFull(t *testing.T) {
	t.Parallel()
	g := start(t, self(t), standin.Behaviour{DiskFull: true})
	g.ready(t)
	g.exec(t, "fill")
	s := g.until(t, "held", func(s supervisor.Status) bool { return s.Held != "" })
	if want := "the host's disk is full (" + filepath.Join(g.dir, "disk") + " needs room)"; s.Held != want || s.HeldSince.IsZero() {
		t.Errorf("held because %q since %v, want %q", s.Held, s.HeldSince, want)
	}
	if _, _, refusal := g.dial(t, channel.PortExec); refusal == nil || !strings.Contains(refusal.Message, "disk is full") {
		t.Errorf("dial: %+v, want words", refusal)
	}
	g.behave(t, standin.Behaviour{})
	g.until(t, "the guest going on", func(s supervisor.Status) bool { return s.Held == "" })
	if st, err := g.exec(t, "true"); err != nil || st.Code != 0 {
		t.Errorf("exec: %+v, %v", st, err)
	}
	g.Stop(limited(t), supervisor.Stop{})
	g.wants(t, g.gone(t), vm.CauseStopped, "", false)
}

func TestStopWhileDiskIsFull(t *testing.T) {
	t.Parallel()
	g := start(t, self(t), standin.Behaviour{DiskFull: true})
	g.ready(t)
	g.exec(t, "fill")
	g.until(t, "held", func(s supervisor.Status) bool { return s.Held != "" })
	begin := time.Now()
	g.Stop(limited(t), supervisor.Stop{})
	g.wants(t, g.gone(t), vm.CauseStopped, "disk is full", true)
	if d := time.Since(begin); d > 20*time.Second {
		t.Errorf("the stop took %v", d)
	}
}

// Two versions of the protocol work with each other: supervisors outlive
// upgrades, and downgrades.
func TestProtocols(t *testing.T) {
	t.Parallel()
	next := filepath.Join(t.TempDir(), "next")
	if out, err := osexec.Command("go", "test", "-c", "-tags=standin,nextprotocol", "-o", next, ".").CombinedOutput(); err != nil {
		t.Fatalf("build the next version: %v\n%s", err, out)
	}
	call := func(program, what, dir string) supervisor.Status {
		t.Helper()
		out, err := osexec.Command(program, what, dir).Output()
		if err != nil {
			t.Fatalf("%s of the other version: %v", what, err)
		}
		var s supervisor.Status
		if what == "status" {
			if err := json.Unmarshal(out, &s); err != nil {
				t.Fatal(err)
			}
		}
		return s
	}
	t.Run("newer supervisor", func(t *testing.T) {
		g := start(t, next, standin.Behaviour{})
		if s := g.ready(t); s.Protocol != supervisor.Protocol+1 || s.Text != "" {
			t.Errorf("status of the next version: %+v", s)
		}
		if err := g.Stop(limited(t), supervisor.Stop{}); err != nil {
			t.Error(err)
		}
		g.wants(t, g.gone(t), vm.CauseStopped, "", false)
	})
	t.Run("older supervisor", func(t *testing.T) {
		g := start(t, self(t), standin.Behaviour{})
		g.ready(t)
		if s := call(next, "status", g.dir); s.Protocol != supervisor.Protocol || s.Phase != supervisor.Ready || s.Text != "" {
			t.Errorf("status by the next version: %+v", s)
		}
		call(next, "stop", g.dir)
		g.wants(t, g.gone(t), vm.CauseStopped, "", false)
	})
}
