//go:build standin

package life

import (
	"context"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"banger/internal/store"
	"banger/internal/vm"
)

// After the host's boot, and where strangers have the pids that a record names,
// VMs are stopped, and no stranger is touched.
func TestReboot(t *testing.T) {
	for name, change := range map[string]func(r *vm.Record, stranger int){
		"another boot": func(r *vm.Record, stranger int) {
			const boot = "00000000-0000-4000-8000-000000000000"
			r.Run.HostBootID, r.Run.Supervisor.BootID, r.Run.VMM.BootID = boot, boot, boot
			r.Run.Supervisor.PID, r.Run.VMM.PID = stranger, stranger
		},
		"pids of strangers": func(r *vm.Record, stranger int) {
			r.Run.Supervisor.PID, r.Run.VMM.PID = stranger, stranger
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.mustStart()
			v := w.create("a", true)
			w.write(v)
			w.kill9()
			for _, pid := range []int{v.Supervisor.PID, v.VMM.PID} {
				syscall.Kill(pid, syscall.SIGKILL)
			}
			w.eventually(func() string {
				for _, what := range w.processes() {
					return what + " lives"
				}
				return ""
			})
			stranger := exec.Command("sleep", "1000")
			if err := stranger.Start(); err != nil {
				t.Fatal(err)
			}
			defer stranger.Wait()
			defer stranger.Process.Kill()
			s, err := store.Open(context.Background(), filepath.Join(w.state(), "banger.db"))
			if err != nil {
				t.Fatal(err)
			}
			list, _, err := s.List(context.Background())
			if err != nil || len(list) != 1 || list[0].State != vm.Running {
				t.Fatalf("%+v, %v", list, err)
			}
			change(&list[0], stranger.Process.Pid)
			if err := s.Save(context.Background(), list[0]); err != nil {
				t.Fatal(err)
			}
			s.Close()
			w.mustStart()
			w.waitState("a", vm.Stopped)
			if text := w.hasWork(v); text != "" {
				t.Error(text)
			}
			if err := stranger.Process.Signal(syscall.Signal(0)); err != nil {
				t.Errorf("the stranger: %v", err)
			}
			if err := start(w); err != nil {
				t.Errorf("start: %v", err)
			}
			w.check()
		})
	}
}
