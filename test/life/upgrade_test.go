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

// What the agent of a guest from before an upgrade would leave out without a word is
// refused with words, and the rest is done.
func TestOldAgent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mustStart()
	b := w.create("b", false)
	w.behave(b.ID, `{"protocol": 2}`)
	if _, err := w.client.StartVM(w.ctx(), "b", api.Start{Force: true}, nil); err == nil || !strings.Contains(err.Error(), "does not know a network") {
		t.Errorf("start with a network: %v", err)
	}
	spec := small()
	spec.Network.Mode = vm.NetNone
	v, err := w.client.CreateVM(w.ctx(), api.Create{Name: "a", Spec: spec, Force: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	w.behave(v.ID, `{"protocol": 1}`)
	if _, err := w.client.StartVM(w.ctx(), "a", api.Start{Force: true}, nil); err != nil {
		t.Fatal(err)
	}
	out, err := w.command("vm", "exec", "-e", "A=1", "-w", "/", "a", "--", "sh", "-c", "echo $A $PWD").CombinedOutput()
	if err != nil || string(out) != "1 /\n" {
		t.Errorf("exec -e -w: %v, %q", err, out)
	}
	const want = "the guest's agent is of an earlier version of banger, and does not know "
	for what, args := range map[string][]string{
		"a command's user": {"vm", "exec", "-u", "nobody", "a", "--", "id"},
		"a larger disk":    {"vm", "set", "a", "--disk-size", "128M"},
	} {
		cmd := w.command(args...)
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != 125 || !strings.Contains(string(out), want+what) || !strings.Contains(string(out), "banger vm restart a") {
			t.Errorf("%v: %v\n%s\nwant status 125, and %q", args, err, out, want+what)
		}
	}
	w.behave(v.ID, "")
	if _, err := w.client.RestartVM(w.ctx(), "a", api.Start{Force: true}, nil); err != nil {
		t.Fatal(err)
	}
	// A stand-in may not be allowed to become another user.
	if out, err := w.command("vm", "exec", "-u", "nobody", "a", "--", "id").CombinedOutput(); strings.Contains(string(out), want) {
		t.Errorf("exec -u after a restart: %v, %q", err, out)
	}
}
