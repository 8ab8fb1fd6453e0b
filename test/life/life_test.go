//go:build standin

package life

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"banger/internal/api"
	"banger/internal/vm"
)

// code is the fault's code, "" for no error, or the error's text.
func code(err error) api.Code {
	var f *api.Fault
	switch {
	case err == nil:
		return ""
	case errors.As(err, &f):
		return f.Code
	}
	return api.Code(err.Error())
}

func (w *world) check() {
	w.t.Helper()
	w.eventually(w.census)
}

// The whole life of a VM, a verb after the other.
func TestVerbs(t *testing.T) {
	w := newWorld(t)
	w.mustStart()
	c, ctx := w.client, w.ctx()
	v := w.create("a", false)
	if v.State != vm.Created || v.VMM != nil {
		t.Errorf("a created VM is %+v", v)
	}
	must := func(v api.VM, err error) api.VM {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	first := must(c.StartVM(ctx, "a", api.Start{}, nil))
	if first.State != vm.Running || first.Session == nil || first.BootID == "" {
		t.Errorf("a started VM is %+v", first)
	}
	if _, err := c.SetVM(ctx, "a", api.Set{MemMiB: 256}, nil); code(err) != api.CodeState {
		t.Errorf("set the memory of a running VM: %v", err)
	}
	if _, err := c.DeleteVM(ctx, "a", api.Delete{}, nil); code(err) != api.CodeState {
		t.Errorf("delete a running VM without force: %v", err)
	}
	must(c.SetVM(ctx, "a", api.Set{Name: "b"}, nil))
	if second := must(c.RestartVM(ctx, "b", api.Start{}, nil)); second.BootID == first.BootID || second.State != vm.Running {
		t.Errorf("restart: boot id %q before and %q after", first.BootID, second.BootID)
	}
	if s, err := c.VMStats(ctx, "b"); err != nil || s.MemRSSKiB == 0 || s.Since.IsZero() {
		t.Errorf("stats: %+v, %v", s, err)
	}
	killed := must(c.KillVM(ctx, "b", api.Kill{}, nil))
	if killed.State != vm.Stopped || killed.Ending == nil || killed.Ending.Cause != vm.CauseKilled {
		t.Errorf("kill: %+v, %+v", killed, killed.Ending)
	}
	must(c.SetVM(ctx, "b", api.Set{MemMiB: 256, VCPUs: 2}, nil))
	must(c.StartVM(ctx, "b", api.Start{Wait: api.WaitAgent}, nil))
	stopped := must(c.StopVM(ctx, "b", api.Stop{}, nil))
	if stopped.State != vm.Stopped || stopped.Ending.Cause != vm.CauseStopped || stopped.Ending.Forced {
		t.Errorf("stop: %+v, %+v", stopped, stopped.Ending)
	}
	p, err := c.PruneVMs(ctx, api.Prune{DryRun: true}, nil)
	if err != nil || len(p.VMs) != 1 || w.show("b") == nil {
		t.Errorf("prune, dry: %+v, %v", p, err)
	}
	d, err := c.DeleteVM(ctx, "b", api.Delete{}, nil)
	if err != nil || !d.Trashed || d.TrashBytes == 0 || w.show("b") != nil {
		t.Errorf("delete: %+v, %v", d, err)
	}
	w.check()
	back := must(c.RestoreTrash(ctx, "b", api.TrashRestore{Name: "c"}))
	if back.ID != v.ID || back.State != vm.Stopped || back.Spec.MemMiB != 256 {
		t.Errorf("restore: %+v", back)
	}
	must(c.StartVM(ctx, "c", api.Start{}, nil))
	if _, err := c.DeleteVM(ctx, "c", api.Delete{Force: true, Discard: true}, nil); err != nil {
		t.Errorf("delete -f --discard: %v", err)
	}
	if list, err := c.ListTrash(ctx); err != nil || len(list) != 0 {
		t.Errorf("a discarded VM is in the trash: %+v, %v", list, err)
	}
	w.check()
}

// A VM lives on through any end of the daemon, and is found as it was.
func TestAdopt(t *testing.T) {
	w := newWorld(t)
	w.mustStart()
	before := w.create("a", true)
	for _, end := range []func(){w.stop, w.kill9} {
		end()
		w.mustStart()
		if after := w.show("a"); after.State != vm.Running || after.BootID != before.BootID || after.VMM.PID != before.VMM.PID {
			t.Errorf("before %+v, after %+v", before, after)
		}
		w.check()
	}
}

// A supervisor that does not answer is not gone: neither a restart of the daemon
// nor time ends its VM. Show says so, and it is well when the supervisor goes on.
func TestSilentSupervisor(t *testing.T) {
	w := newWorld(t)
	w.mustStart()
	v := w.create("a", true)
	syscall.Kill(v.Supervisor.PID, syscall.SIGSTOP)
	w.kill9()
	w.mustStart()
	if now := w.show("a"); now.State != vm.Running {
		t.Errorf("a VM whose supervisor is held is %s", now.State)
	}
	w.eventually(func() string {
		if now := w.show("a"); now.SilentSince.IsZero() || now.State != vm.Running {
			return fmt.Sprintf("not said to be silent: %+v", now)
		}
		return ""
	})
	syscall.Kill(v.Supervisor.PID, syscall.SIGCONT)
	w.check()
	if now := w.show("a"); now.BootID != v.BootID {
		t.Errorf("boot id %q, was %q", now.BootID, v.BootID)
	}
}

// SIGTERM to a daemon that is starting never touches what it adopts.
func TestEndWhileAdopting(t *testing.T) {
	w := newWorld(t)
	w.mustStart()
	v := w.create("a", true)
	w.kill9()
	syscall.Kill(v.Supervisor.PID, syscall.SIGSTOP)
	for range 5 {
		w.start() // ready or not
		w.daemon.Process.Signal(syscall.SIGTERM)
		<-w.ended
	}
	syscall.Kill(v.Supervisor.PID, syscall.SIGCONT)
	w.mustStart()
	if now := w.show("a"); now.BootID != v.BootID {
		t.Errorf("it is %+v", now)
	}
	w.check()
}

// Start of a stopping VM waits for its end, in peace, and starts it.
func TestStartOfStopping(t *testing.T) {
	w := newWorld(t)
	w.mustStart()
	v := w.create("a", true)
	w.behave(v.ID, `{"end_delay_ms": 1500}`)
	var stopped error
	var wg sync.WaitGroup
	wg.Go(func() { _, stopped = w.client.StopVM(w.ctx(), "a", api.Stop{}, nil) })
	w.waitState("a", vm.Stopping)
	var told []string
	now, err := w.client.StartVM(w.ctx(), "a", api.Start{}, func(e api.Event) { told = append(told, e.Text) })
	wg.Wait()
	if err != nil || stopped != nil || now.State != vm.Running || now.BootID == v.BootID {
		t.Errorf("stop: %v; start: %+v, %v", stopped, now, err)
	}
	if !strings.Contains(strings.Join(told, "\n"), "waiting for stop of a") {
		t.Errorf("start did not say whom it waits for: %q", told)
	}
	w.check()
}

// A stronger verb ends the weaker ones at once and says so.
func TestRanks(t *testing.T) {
	for _, c := range []struct {
		name, behaviour string
		weak, strong    func(*world) error
		by              string
		end             vm.State
	}{
		{"stop before start", `{"no_hello": true}`, start, stop, "stop", vm.Stopped},
		{"delete -f before start", `{"no_hello": true}`, start, deleteForce, "delete -f", "gone"},
		{"kill before start", `{"no_hello": true}`, start, kill, "kill", vm.Stopped},
		{"delete -f before stop", `{"end_delay_ms": 20000}`, stop, deleteForce, "delete -f", "gone"},
		{"kill before stop", `{"no_end": true}`, stop, kill, "kill", vm.Stopped},
		{"kill before delete -f", `{"no_sync": true, "no_end": true}`, deleteForce, kill, "kill", vm.Stopped},
		{"kill before restart", `{"no_end": true}`, restart, kill, "kill", vm.Stopped},
		{"stop before restart", `{"end_delay_ms": 2000}`, restart, stop, "stop", vm.Stopped},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.mustStart()
			running := !strings.HasSuffix(c.name, "start")
			v := w.create("a", running)
			w.behave(v.ID, c.behaviour)
			weak := make(chan error, 1)
			go func() { weak <- c.weak(w) }() // ends with the verb
			w.eventually(func() string {
				if now := w.show("a"); now.Operation == "" || now.State == vm.Created {
					return "the weaker verb does not begin"
				}
				return ""
			})
			if err := c.strong(w); err != nil {
				t.Errorf("the stronger verb: %v", err)
			}
			err := <-weak
			if code(err) != api.CodeEnded || !strings.Contains(err.Error(), "was ended by "+c.by) {
				t.Errorf("the weaker verb: %v", err)
			}
			w.waitState("a", c.end)
			w.behave(v.ID, "")
			w.check()
		})
	}
}

func start(w *world) error {
	_, err := w.client.StartVM(w.ctx(), "a", api.Start{Force: true}, nil)
	return err
}

func restart(w *world) error {
	_, err := w.client.RestartVM(w.ctx(), "a", api.Start{Force: true}, nil)
	return err
}

func stop(w *world) error {
	_, err := w.client.StopVM(w.ctx(), "a", api.Stop{}, nil)
	return err
}

func kill(w *world) error {
	_, err := w.client.KillVM(w.ctx(), "a", api.Kill{}, nil)
	return err
}

func deleteForce(w *world) error {
	_, err := w.client.DeleteVM(w.ctx(), "a", api.Delete{Force: true}, nil)
	return err
}

// Equal verbs join, and all callers get the same answer.
func TestJoin(t *testing.T) {
	w := newWorld(t)
	w.mustStart()
	v := w.create("a", true)
	w.behave(v.ID, `{"end_delay_ms": 300}`)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := stop(w); err != nil {
				t.Errorf("stop: %v", err)
			}
		})
	}
	wg.Wait()
	for range 8 {
		wg.Go(func() {
			if err := start(w); err != nil {
				t.Errorf("start: %v", err)
			}
		})
	}
	wg.Wait()
	w.check()
}

// 64 creates at once.
func TestManyCreates(t *testing.T) {
	w := newWorld(t)
	w.mustStart()
	var wg sync.WaitGroup
	for n := range 64 {
		wg.Go(func() {
			name := fmt.Sprintf("vm-%d", n/2) // each name twice
			_, err := w.client.CreateVM(w.ctx(), api.Create{Name: name, Spec: small(), Start: n%4 == 0, Force: true}, nil)
			if c := code(err); c != "" && c != api.CodeExists {
				t.Errorf("create %s: %v", name, err)
			}
		})
	}
	wg.Wait()
	if list, err := w.client.ListVMs(w.ctx()); err != nil || len(list) != 32 {
		t.Errorf("%d VMs, want 32; %v", len(list), err)
	}
	w.check()
}

// Pairs of verbs at once, on a VM in each state: every call ends, and what is
// left fits together.
func TestPairs(t *testing.T) {
	t.Parallel()
	verbs := map[string]func(*world) error{
		"start": start, "stop": stop, "restart": restart, "kill": kill, "delete": deleteForce,
		"set": func(w *world) error {
			_, err := w.client.SetVM(w.ctx(), "a", api.Set{MemMiB: 256}, nil)
			return err
		},
		"create": func(w *world) error {
			_, err := w.client.CreateVM(w.ctx(), api.Create{Name: "a", Spec: small(), Start: true, Force: true}, nil)
			return err
		},
	}
	fine := map[api.Code]bool{"": true, api.CodeEnded: true, api.CodeState: true, api.CodeNotFound: true, api.CodeExists: true}
	w := newWorld(t)
	w.mustStart()
	for one, f := range verbs {
		for other, g := range verbs {
			for _, run := range []bool{true, false} {
				if w.show("a") == nil {
					w.create("a", false)
				}
				if run {
					start(w)
				} else {
					stop(w)
				}
				var wg sync.WaitGroup
				for name, h := range map[string]func(*world) error{one: f, other + "'": g} {
					wg.Go(func() {
						if err := h(w); !fine[code(err)] {
							t.Errorf("%s against %s, running %t: %s: %v", one, other, run, name, err)
						}
					})
				}
				wg.Wait()
			}
		}
	}
	w.check()
}

// A create whose caller goes away while its VM boots is undone; a start goes on.
func TestAbandon(t *testing.T) {
	w := newWorld(t)
	w.mustStart()
	w.behave("", `{"no_hello": true}`)
	leave := func(call func(context.Context) error) {
		t.Helper()
		ctx, cancel := context.WithCancel(w.ctx())
		gone := make(chan error, 1)
		go func() { gone <- call(ctx) }() // ends with ctx
		w.eventually(func() string {
			list, _ := w.client.ListVMs(w.ctx())
			for _, v := range list {
				if v.State == vm.Starting {
					return ""
				}
			}
			return "nothing starts"
		})
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("the call that was given up: %v", err)
		}
	}
	leave(func(ctx context.Context) error {
		_, err := w.client.CreateVM(ctx, api.Create{Name: "b", Spec: small(), Start: true, Force: true}, nil)
		return err
	})
	w.waitState("b", "gone")
	w.create("a", false)
	leave(func(ctx context.Context) error {
		_, err := w.client.StartVM(ctx, "a", api.Start{Force: true}, nil)
		return err
	})
	if now := w.show("a"); now.State != vm.Starting || now.Operation != "start" {
		t.Errorf("a start whose caller left: %+v", now)
	}
	if err := stop(w); err != nil {
		t.Errorf("stop: %v", err)
	}
	w.behave("", "")
	w.check()
}

// A VM that is tied to a process goes when that is gone, whatever happens to the
// daemon meanwhile.
func TestHolder(t *testing.T) {
	w := newWorld(t)
	w.mustStart()
	holder := w.command("vm", "run", "--rm", "--vmm", "standin", "--memory", "128M", "--name", "a", "--", "sleep", "1000")
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	w.waitState("a", vm.Running)
	w.kill9()
	w.mustStart()
	if v := w.show("a"); v == nil || v.State != vm.Running {
		t.Errorf("it is %+v", v)
	}
	holder.Process.Kill()
	holder.Wait()
	w.waitState("a", "gone")
	w.check()
}

// What a cleaner takes from under running programs is made again.
func TestSweptSockets(t *testing.T) {
	w := newWorld(t)
	w.mustStart()
	v := w.create("a", true)
	os.Remove(w.state() + "/bangerd.sock")
	os.Remove(w.vmDir(v.ID) + "/run/supervisor.sock")
	w.eventually(func() string {
		if _, err := w.client.ShowDaemon(w.ctx()); err != nil {
			return err.Error()
		}
		return ""
	})
	w.check()
	if now := w.show("a"); now.BootID != v.BootID {
		t.Errorf("it was started again")
	}
}

// The time to live of a run ends it, and nothing else does.
func TestTTL(t *testing.T) {
	w := newWorld(t)
	w.mustStart()
	spec := small()
	spec.TTLSeconds = 2
	v, err := w.client.CreateVM(w.ctx(), api.Create{Name: "a", Spec: spec, Start: true, Force: true}, nil)
	if err != nil || v.EndsAt.IsZero() {
		t.Fatalf("%+v, %v", v, err)
	}
	w.create("b", true)
	w.waitState("a", vm.Stopped)
	if b := w.show("b"); b.State != vm.Running || !b.EndsAt.IsZero() {
		t.Errorf("b is %+v", b)
	}
	w.check()
}

// A create or start that the host's memory does not hold is refused with
// figures, and goes on with force.
func TestMemory(t *testing.T) {
	w := newWorld(t)
	w.mustStart()
	var info syscall.Sysinfo_t
	syscall.Sysinfo(&info)
	big := small()
	big.MemMiB = int64(uint64(info.Totalram)*uint64(info.Unit)>>20) * 6 / 10
	if _, err := w.client.CreateVM(w.ctx(), api.Create{Name: "a", Spec: big, Start: true, Force: true}, nil); err != nil {
		t.Fatal(err)
	}
	_, err := w.client.CreateVM(w.ctx(), api.Create{Name: "b", Spec: big, Start: true}, nil)
	if code(err) != api.CodeMemory || !strings.Contains(err.Error(), "running VMs may still take") {
		t.Errorf("a second one: %v", err)
	}
	w.check()
	if w.show("b") != nil {
		t.Error("the refused create left its VM")
	}
	if _, err := w.client.CreateVM(w.ctx(), api.Create{Name: "b", Spec: big, Start: true, Force: true}, nil); err != nil {
		t.Errorf("with force: %v", err)
	}
	time.Sleep(0)
}
