package standin

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"banger/internal/channel"
	"banger/internal/channel/control"
)

// soon is how long a test waits for what must not come.
const soon = 100 * time.Millisecond

func shortly(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	t.Cleanup(cancel)
	return ctx
}

func TestLaunchError(t *testing.T) {
	spec := testSpec(t)
	if err := (Behaviour{LaunchError: "no memory today"}).Save(spec.Dir); err != nil {
		t.Fatal(err)
	}
	m, err := testDriver(Verb).Launch(limited(t), spec)
	if err == nil {
		m.Close()
		t.Fatal("Launch: no error")
	}
	if want := "launch the stand-in: no memory today"; err.Error() != want {
		t.Errorf("Launch: %q, want %q", err, want)
	}
	if left, err := os.ReadDir(spec.RunDir); err != nil || len(left) > 0 {
		t.Errorf("the run directory has %v, %v; want nothing left", left, err)
	}
}

func TestPanicAtBoot(t *testing.T) {
	s := launchStandIn(t, testSpec(t), Behaviour{Panic: "VFS: Unable to mount root fs"})
	if x := s.exit(t); x.Code != 0 || x.Guest != "reset" {
		t.Errorf("Exit() = %+v, want the guest's reset", x)
	}
	if text, want := <-s.console, "Kernel panic - not syncing: VFS: Unable to mount root fs\r\n"; !strings.Contains(text, want) {
		t.Errorf("console %q, want %q", text, want)
	}
	if _, err := s.Carrier().Hello(limited(t)); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Hello: %v, want an error at once", err)
	}
}

func TestHello(t *testing.T) {
	begin := time.Now()
	s := up(t, Behaviour{HelloDelayMillis: 200})
	if took := time.Since(begin); took < 200*time.Millisecond {
		t.Errorf("the guest was ready after %v, want 200 ms or more", took)
	}
	if h, err := s.Carrier().Hello(limited(t)); err != nil || h.Agent != "standin" || h.Protocol != channel.Protocol {
		t.Errorf("Hello() = %+v, %v", h, err)
	}
	s = launchStandIn(t, testSpec(t), Behaviour{NoHello: true})
	if h, err := s.Carrier().Hello(shortly(t)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Hello() = %+v, %v; want none", h, err)
	}
}

func TestEnd(t *testing.T) {
	for name, c := range map[string]struct {
		b      Behaviour
		grace  time.Duration
		stages string
		least  time.Duration
	}{
		"at once":     {Behaviour{}, patience, "asked synced", 0},
		"slow":        {Behaviour{EndDelayMillis: 200}, patience, "asked synced", 200 * time.Millisecond},
		"slower than": {Behaviour{EndDelayMillis: 10_000}, 200 * time.Millisecond, "asked forced synced", 200 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			s := up(t, c.b)
			begin := time.Now()
			var stages []string
			s.control.End(limited(t), control.End{GraceMillis: c.grace.Milliseconds()}, func(e control.EndEvent) { stages = append(stages, e.Stage) })
			if x := s.exit(t); x.Code != 0 || x.Guest != "reset" {
				t.Errorf("Exit() = %+v, want the guest's reset", x)
			}
			if got := strings.Join(stages, " "); got != c.stages {
				t.Errorf("stages %q, want %q", got, c.stages)
			}
			if took := time.Since(begin); took < c.least || took > c.least+5*time.Second {
				t.Errorf("the end took %v, want %v", took, c.least)
			}
		})
	}
}

// What a running guest does follows the file.
func TestChangedWhileRunning(t *testing.T) {
	s := up(t, Behaviour{NoEnd: true, NoSync: true})
	if err := s.control.Sync(shortly(t)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Sync: %v, want no answer", err)
	}
	s.change(t, Behaviour{AgentGone: true})
	if c, err := s.Carrier().Dial(limited(t), channel.PortExec); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("Dial() = %v, %v; want a guest that does not answer", c, err)
	}
	s.change(t, Behaviour{NoEnd: true})
	if err := s.control.Sync(limited(t)); err != nil {
		t.Errorf("Sync: %v", err)
	}
	if err := s.control.End(shortly(t), control.End{}, func(control.EndEvent) {}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("End: %v, want a guest that goes on", err)
	}
	s.change(t, Behaviour{ExitStatus: 3})
	s.command(t, "reboot")
	if x := s.exit(t); x.Code != 3 || x.Guest != "" {
		t.Errorf("Exit() = %+v, want status 3 and no deed of the guest", x)
	}
}

func (s *standIn) change(t *testing.T, b Behaviour) {
	t.Helper()
	if err := b.Save(s.spec.Dir); err != nil {
		t.Fatal(err)
	}
}

func TestLoad(t *testing.T) {
	above := t.TempDir()
	dir := filepath.Join(above, "vm")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	want := Behaviour{}
	check := func(when string) {
		t.Helper()
		got, err := load(dir)
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("load %s: %v (-want +got):\n%s", when, err, d)
		}
	}
	check("without a file")
	want = Behaviour{Panic: "a"}
	if err := want.Save(above); err != nil {
		t.Fatal(err)
	}
	check("of the directory above")
	want = Behaviour{
		LaunchError: "a", Panic: "b", HelloDelayMillis: 1, NoHello: true, EndDelayMillis: 2,
		NoEnd: true, NoSync: true, AgentGone: true, ExitStatus: 3,
	}
	if err := want.Save(dir); err != nil {
		t.Fatal(err)
	}
	check("of the VM's own")
	path := filepath.Join(dir, File)
	if err := os.WriteFile(path, []byte(`{"no_such": 1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := load(dir); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "no_such") {
		t.Errorf("load of an unknown field: %v, want file and field", err)
	}
}

func TestReadConnect(t *testing.T) {
	for text, want := range map[string]uint32{
		"CONNECT 1001\nrest": 1001, "CONNECT 4294967295\n": 4294967295,
		"CONNECT 4294967296\n": 0, "CONNECT -1\n": 0, "CONNECT\n": 0, "GET / HTTP/1.1\n": 0, "CONNECT 1": 0,
		strings.Repeat("9", 100) + "\n": 0,
	} {
		in := strings.NewReader(text)
		got, err := readConnect(in)
		if (err == nil) != (want != 0) || err == nil && got != want {
			t.Errorf("readConnect(%.30q) = %d, %v; want %d", text, got, err, want)
		}
		if err == nil && in.Len() != len(text)-strings.Index(text, "\n")-1 {
			t.Errorf("readConnect(%.30q) left %d bytes", text, in.Len())
		}
	}
}
