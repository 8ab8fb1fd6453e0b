//go:build standin

package life

import (
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"banger/internal/vm"
)

// typedVerbs are the verbs as a user types them, on VM a in the state that before
// says.
var typedVerbs = []struct {
	args   []string
	before vm.State
}{
	{[]string{"vm", "create", "--vmm", "standin", "--memory", "128M", "--force", "--name", "a"}, gone},
	{[]string{"vm", "run", "--rm", "--vmm", "standin", "--memory", "128M", "--name", "a", "--", "sleep", "60"}, gone},
	{[]string{"vm", "start", "--force", "a"}, vm.Stopped},
	{[]string{"vm", "stop", "a"}, vm.Running},
	{[]string{"vm", "restart", "--force", "a"}, vm.Running},
	{[]string{"vm", "kill", "--signal", "TERM", "a"}, vm.Running},
	{[]string{"vm", "delete", "-f", "a"}, vm.Running},
	{[]string{"vm", "delete", "--discard", "a"}, vm.Stopped},
	{[]string{"vm", "set", "--memory", "256M", "a"}, vm.Stopped},
	{[]string{"vm", "prune", "-f"}, vm.Stopped},
	{[]string{"vm", "wait", "a", "running"}, vm.Stopped},
	{[]string{"vm", "stats", "-f", "a"}, vm.Running},
	{[]string{"trash", "restore", "a"}, trash},
	{[]string{"trash", "empty"}, trash},
}

// Ctrl-C gives the prompt back at any point of any verb, and what it leaves fits
// together.
func TestCancel(t *testing.T) {
	t.Parallel()
	r := random(t)
	for _, v := range typedVerbs {
		var waits []time.Duration
		for range 3 {
			waits = append(waits, time.Duration(r.IntN(500))*time.Millisecond)
		}
		t.Run(strings.Join(v.args, " "), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.mustStart()
			w.behave("", `{"hello_delay_ms": 300, "end_delay_ms": 300}`)
			for _, wait := range waits {
				w.prepareAnew(verbCase{before: v.before})
				cmd := w.command(v.args...)
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				time.Sleep(wait)
				begin := time.Now()
				cmd.Process.Signal(syscall.SIGINT)
				w.ends(cmd, v.args)
				t.Logf("the prompt was back after %v", time.Since(begin).Round(time.Millisecond))
				w.check()
			}
		})
	}
}

// ends waits for the end of a command that was interrupted.
func (w *world) ends(cmd *exec.Cmd, args []string) {
	w.t.Helper()
	kill := time.AfterFunc(generous, func() { cmd.Process.Kill() })
	cmd.Wait()
	if !kill.Stop() {
		w.t.Errorf("%v does not end", args)
	}
	if status := fmt.Sprint(cmd.ProcessState); status != "exit status 130" && status != "exit status 0" && status != "exit status 125" && status != "signal: interrupt" {
		w.t.Errorf("%v ended with %s", args, status)
	}
}
