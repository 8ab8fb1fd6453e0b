package standin

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"banger/internal/channel"
	"banger/internal/channel/control"
	"banger/internal/channel/exec"
	"banger/internal/vm"
	"banger/internal/vmm"
)

// patience bounds a wait for what comes in milliseconds.
const patience = 20 * time.Second

// machine under test, with its console.
type standIn struct {
	vmm.Machine
	spec    vmm.Spec
	control *control.Client
	console chan string // all of it, at its end
}

// testSpec is a machine without disks.
func testSpec(t *testing.T) vmm.Spec {
	t.Helper()
	dir := t.TempDir()
	s := vmm.Spec{
		ID: vm.NewID(), Dir: filepath.Join(dir, "vm"), RunDir: filepath.Join(dir, "run"),
		VCPUs: 1, MemMiB: 512, Kernel: filepath.Join(dir, "kernel"), Initrd: filepath.Join(dir, "initrd"),
	}
	for _, d := range []string{s.Dir, s.RunDir} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{s.Kernel, s.Initrd} {
		if err := os.WriteFile(f, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// launchStandIn launches a stand-in of spec that behaves so.
func launchStandIn(t *testing.T, spec vmm.Spec, b Behaviour) *standIn {
	t.Helper()
	if err := b.Save(spec.Dir); err != nil {
		t.Fatal(err)
	}
	m, err := testDriver(Verb).Launch(limited(t), spec)
	if err != nil {
		t.Fatal(err)
	}
	s := &standIn{Machine: m, spec: spec, console: make(chan string, 1)}
	s.control = control.NewClient(func(ctx context.Context) (net.Conn, error) {
		return m.Carrier().Dial(ctx, channel.PortControl)
	})
	go func() { // ends with the VMM
		text, _ := io.ReadAll(m.Console())
		s.console <- string(text)
	}()
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

// up is launchStandIn, and waits for a guest that has its identity.
func up(t *testing.T, b Behaviour) *standIn {
	t.Helper()
	s := launchStandIn(t, testSpec(t), b)
	s.ready(t)
	return s
}

func (s *standIn) ready(t *testing.T) {
	t.Helper()
	if _, err := s.Carrier().Hello(limited(t)); err != nil {
		t.Fatalf("Hello: %v", err)
	}
	if _, err := s.control.Identity(limited(t), control.Identity{Hostname: "a"}); err != nil {
		t.Fatalf("Identity: %v", err)
	}
}

func (s *standIn) exit(t *testing.T) vmm.Exit {
	t.Helper()
	select {
	case <-s.Done():
	case <-time.After(patience):
		t.Fatal("the VMM goes on")
	}
	return s.Exit()
}

// command opens a session.
func (s *standIn) command(t *testing.T, words ...string) (channel.Stream, *exec.Reader) {
	t.Helper()
	c, err := s.Carrier().Dial(limited(t), channel.PortExec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := exec.NewWriter(c).WriteRequest(exec.Request{Argv: exec.Args(words...)}); err != nil {
		t.Fatal(err)
	}
	return c, exec.NewReader(c)
}

// sh runs a script and returns its output and status.
func (s *standIn) sh(t *testing.T, script string) (string, exec.Status) {
	t.Helper()
	c, in := s.command(t, "sh", "-c", script)
	defer c.Close()
	var out []byte
	for {
		typ, p, err := in.Next()
		if err != nil {
			t.Fatalf("%q: %v after %q", script, err, out)
		}
		switch typ {
		case exec.TypeStdout, exec.TypeStderr:
			out = append(out, p...)
		case exec.TypeExit:
			status, err := exec.ParseStatus(p)
			if err != nil {
				t.Fatal(err)
			}
			return string(out), status
		}
	}
}

// awaitOutput reads a session until it has written something.
func awaitOutput(t *testing.T, in *exec.Reader) string {
	t.Helper()
	for {
		typ, p, err := in.Next()
		if err != nil {
			t.Fatal(err)
		}
		if typ == exec.TypeStdout && len(p) > 0 {
			return string(bytes.TrimSpace(p))
		}
	}
}

func TestCommands(t *testing.T) {
	s := up(t, Behaviour{})
	dir := filepath.Join(s.spec.Dir, "guest")
	out, status := s.sh(t, `pwd; echo "$HOME"; echo kept >file; grep CapEff /proc/self/status; exit 7`)
	if status != (exec.Status{Kind: exec.Exited, Code: 7}) || !strings.HasPrefix(out, dir+"\n"+dir+"\n") {
		t.Errorf("status %+v, output %q; want 7, and the guest's directory twice", status, out)
	}
	if !strings.Contains(out, "CapEff:\t0000000000000000\n") {
		t.Errorf("output %q, want a command without capabilities", out)
	}
	// A command has the signals' default actions, though its VMM drops them.
	if _, status := s.sh(t, `kill -TERM $$`); status != (exec.Status{Kind: exec.Signalled, Signal: 15}) {
		t.Errorf("status %+v, want signal 15", status)
	}
	if h, err := s.control.Health(limited(t)); err != nil || h.MemTotalKiB != 512<<10 || h.Init != "agent" {
		t.Errorf("Health() = %+v, %v", h, err)
	}
	s.Signal(syscall.SIGKILL)
	s.exit(t)
	s.Close()
	again := launchStandIn(t, s.spec, Behaviour{})
	again.ready(t)
	if out, _ := again.sh(t, "cat file"); out != "kept\n" {
		t.Errorf("after a crash the file holds %q, want what was written before it", out)
	}
}

func TestGuestEndsItself(t *testing.T) {
	for name, c := range map[string]struct{ guest, console string }{
		"reboot":   {"reset", "reboot: Restarting system"},
		"poweroff": {"shutdown", "reboot: Power down"},
		"halt":     {"shutdown", "reboot: Power down"},
		"panic":    {"reset", panicText + "sysrq triggered crash"},
	} {
		t.Run(name, func(t *testing.T) {
			s := up(t, Behaviour{})
			s.command(t, name)
			if x := s.exit(t); x.Code != 0 || x.Signal != 0 || x.Guest != c.guest || x.Stderr != "" {
				t.Errorf("Exit() = %+v, want status 0 and the guest's %q", x, c.guest)
			}
			if text := <-s.console; !strings.Contains(text, c.console) {
				t.Errorf("console %q, want %q", text, c.console)
			}
		})
	}
}

// No command outlives its guest, however that ended and whatever the command is
// the child of.
func TestCommandsEndWithTheGuest(t *testing.T) {
	for name, end := range map[string]func(*standIn){
		"killed": func(s *standIn) { s.Signal(syscall.SIGKILL) },
		"ended": func(s *standIn) {
			s.control.End(context.Background(), control.End{GraceMillis: 20}, func(control.EndEvent) {})
		},
		"rebooted": func(s *standIn) {
			if c, err := s.Carrier().Dial(context.Background(), channel.PortExec); err == nil {
				exec.NewWriter(c).WriteRequest(exec.Request{Argv: exec.Args("reboot")})
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := up(t, Behaviour{})
			_, in := s.command(t, "sh", "-c", `(trap "" TERM HUP; sh -c 'trap "" TERM HUP; echo $$; while :; do sleep 0.1; done' & ) ; exec sleep 1000`)
			pid := awaitOutput(t, in)
			end(s)
			s.exit(t)
			if state, err := os.ReadFile("/proc/" + pid + "/stat"); err == nil && !strings.Contains(string(state), ") Z ") {
				t.Errorf("the command's child goes on: %s", state)
			}
		})
	}
}
