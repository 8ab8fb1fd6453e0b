//go:build standin

package life

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"banger/internal/api"
	"banger/internal/vm"
)

// model is what a VM's user expects after each step.
type model struct {
	state   vm.State
	trashed int // entries of this name in the trash
	ran     bool
}

// step is something that happens to a VM, and what the model makes of it: the
// code of the answer, "" for none.
type step struct {
	name string
	do   func(w *world, name string) error
	next func(m *model) api.Code
}

// lives reports whether the VM is there.
func (m *model) lives() bool { return m.state != gone }

// needs is the answer of a verb that needs a VM.
func needs(m *model, f func() api.Code) api.Code {
	if !m.lives() {
		return api.CodeNotFound
	}
	return f()
}

func (m *model) to(s vm.State) api.Code {
	m.state = s
	m.ran = m.ran || s == vm.Running
	return ""
}

func (m *model) remove() api.Code {
	if m.ran {
		m.trashed++
	}
	m.state, m.ran = gone, false
	return ""
}

var steps = []step{
	{"create", func(w *world, n string) error {
		_, err := w.client.CreateVM(w.ctx(), api.Create{Name: n, Spec: small()}, nil)
		return err
	}, func(m *model) api.Code {
		if m.lives() {
			return api.CodeExists
		}
		return m.to(vm.Created)
	}},
	{"run", func(w *world, n string) error {
		_, err := w.client.CreateVM(w.ctx(), api.Create{Name: n, Spec: small(), Start: true, Force: true}, nil)
		return err
	}, func(m *model) api.Code {
		if m.lives() {
			return api.CodeExists
		}
		return m.to(vm.Running)
	}},
	{"start", func(w *world, n string) error {
		_, err := w.client.StartVM(w.ctx(), n, api.Start{Force: true}, nil)
		return err
	}, func(m *model) api.Code {
		return needs(m, func() api.Code { return m.to(vm.Running) })
	}},
	{"stop", func(w *world, n string) error {
		_, err := w.client.StopVM(w.ctx(), n, api.Stop{}, nil)
		return err
	}, ends},
	{"kill", func(w *world, n string) error {
		_, err := w.client.KillVM(w.ctx(), n, api.Kill{}, nil)
		return err
	}, ends},
	{"restart", func(w *world, n string) error {
		_, err := w.client.RestartVM(w.ctx(), n, api.Start{Force: true}, nil)
		return err
	}, func(m *model) api.Code {
		return needs(m, func() api.Code { return m.to(vm.Running) })
	}},
	{"set", func(w *world, n string) error {
		_, err := w.client.SetVM(w.ctx(), n, api.Set{TTLSeconds: 100_000}, nil)
		return err
	}, func(m *model) api.Code { return needs(m, func() api.Code { return "" }) }},
	{"delete", func(w *world, n string) error {
		_, err := w.client.DeleteVM(w.ctx(), n, api.Delete{}, nil)
		return err
	}, func(m *model) api.Code {
		return needs(m, func() api.Code {
			if m.state == vm.Running {
				return api.CodeState
			}
			return m.remove()
		})
	}},
	{"delete -f", func(w *world, n string) error {
		_, err := w.client.DeleteVM(w.ctx(), n, api.Delete{Force: true}, nil)
		return err
	}, func(m *model) api.Code { return needs(m, m.remove) }},
	{"restore", func(w *world, n string) error {
		list, err := w.client.ListTrash(w.ctx())
		if err != nil {
			return err
		}
		for _, e := range list { // the newest first
			if e.Name == n {
				_, err := w.client.RestoreTrash(w.ctx(), string(e.ID), api.TrashRestore{})
				return err
			}
		}
		return &api.Fault{Code: api.CodeNotFound}
	}, func(m *model) api.Code {
		switch {
		case m.trashed == 0:
			return api.CodeNotFound
		case m.lives():
			return api.CodeExists
		}
		m.trashed--
		m.ran = true
		return m.to(vm.Stopped)
	}},
	// What nobody asked for.
	{"the VMM dies", func(w *world, n string) error {
		return w.dies(n, func(v *api.VM) int { return v.VMM.PID })
	}, runEnds},
	{"the supervisor dies", func(w *world, n string) error {
		return w.dies(n, func(v *api.VM) int { return v.Supervisor.PID })
	}, runEnds},
	{"the supervisor is held and goes on", func(w *world, n string) error {
		if v := w.show(n); v != nil && v.Supervisor != nil {
			syscall.Kill(v.Supervisor.PID, syscall.SIGSTOP)
			w.show(n)
			syscall.Kill(v.Supervisor.PID, syscall.SIGCONT)
		}
		return nil
	}, func(*model) api.Code { return "" }},
	{"the daemon dies", func(w *world, n string) error {
		w.kill9()
		w.mustStart()
		return nil
	}, func(*model) api.Code { return "" }},
}

// ends is what stop and kill do.
func ends(m *model) api.Code {
	return needs(m, func() api.Code { return runEnds(m) })
}

func runEnds(m *model) api.Code {
	if m.state == vm.Running {
		m.state = vm.Stopped
	}
	return ""
}

// dies kills a process of a VM that runs, and waits until that is seen.
func (w *world) dies(name string, who func(*api.VM) int) error {
	v := w.show(name)
	if v == nil || v.State != vm.Running {
		return nil
	}
	syscall.Kill(who(v), syscall.SIGKILL)
	w.waitState(name, vm.Stopped)
	return nil
}

// Sequences of verbs and mishaps leave the VM as its user expects, after every
// single step.
func TestModel(t *testing.T) {
	t.Parallel()
	for worker := range 4 {
		t.Run(fmt.Sprint(worker), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.mustStart()
			var sequences atomic.Int64
			rapid.Check(t, func(r *rapid.T) {
				name := fmt.Sprintf("m-%d", sequences.Add(1))
				m := &model{state: gone}
				for _, n := range rapid.SliceOfN(rapid.IntRange(0, len(steps)-1), 1, 8).Draw(r, "steps") {
					s := steps[n]
					want := s.next(m)
					if got := code(s.do(w, name)); got != want {
						r.Fatalf("%s: the answer is %q, want %q", s.name, got, want)
					}
					state := gone
					if v := w.show(name); v != nil {
						state = v.State
					}
					if state != m.state {
						r.Fatalf("after %s the VM is %s, want %s", s.name, state, m.state)
					}
				}
				w.client.DeleteVM(w.ctx(), name, api.Delete{Force: true, Discard: true}, nil)
			})
			w.check()
			t.Logf("%d sequences", sequences.Load())
		})
	}
}
