//go:build standin

package life

import (
	"bufio"
	"io"
	"strings"
	"testing"

	"banger/internal/api"
	"banger/internal/vm"
)

// A daemon of one version takes over the VMs of another, in both directions, while
// a session lives: one field of the protocol was added, and one dropped.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	now, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	next, err := nextPrograms()
	if err != nil {
		t.Fatal(err)
	}
	for name, versions := range map[string][2]string{"up": {now, next}, "down": {next, now}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.bin = versions[0]
			w.mustStart()
			a, b := w.create("a", true), w.create("b", true)
			session := w.command("vm", "exec", "a", "--", "cat")
			in, err := session.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := session.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := session.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewReader(out)
			say := func(text string) {
				t.Helper()
				io.WriteString(in, text+"\n")
				if got, err := lines.ReadString('\n'); strings.TrimSpace(got) != text {
					t.Errorf("the session says %q, %v, want %q", got, err, text)
				}
			}
			say("before")
			w.kill9()
			w.bin = versions[1]
			w.mustStart()
			say("after")
			for _, was := range []api.VM{a, b} {
				if v := w.show(was.Name); v == nil || v.State != vm.Running || v.BootID != was.BootID || !v.SilentSince.IsZero() {
					t.Errorf("%s is %+v", was.Name, v)
				}
			}
			if got, err := w.command("vm", "exec", "b", "--", "echo", "new").Output(); err != nil || strings.TrimSpace(string(got)) != "new" {
				t.Errorf("a new command: %q, %v", got, err)
			}
			in.Close()
			if err := session.Wait(); err != nil {
				t.Errorf("the session's end: %v", err)
			}
			w.check()
			if v, err := w.client.StopVM(w.ctx(), "a", api.Stop{}, nil); err != nil || v.State != vm.Stopped || v.Ending == nil || v.Ending.Forced {
				t.Errorf("stop: %+v, %v", v, err)
			}
			if v, err := w.client.RestartVM(w.ctx(), "b", api.Start{Force: true}, nil); err != nil || v.BootID == b.BootID {
				t.Errorf("restart: %+v, %v", v, err)
			}
			if v, err := w.client.StartVM(w.ctx(), "a", api.Start{Force: true}, nil); err != nil || v.State != vm.Running {
				t.Errorf("start: %+v, %v", v, err)
			}
			if _, err := w.client.KillVM(w.ctx(), "a", api.Kill{}, nil); err != nil {
				t.Errorf("kill: %v", err)
			}
			w.check()
		})
	}
}
