package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"banger/internal/hint"
	"banger/internal/vmm"
)

// fake writes a program in QEMU's place, for what a real one does not do on
// order. It names itself like QEMU and then runs script.
func fake(t *testing.T, script string) *Driver {
	t.Helper()
	path := filepath.Join(t.TempDir(), "qemu-system-x86_64")
	text := "#!/bin/sh\nif [ \"$3\" = --version ]; then echo QEMU emulator version 7.2.22 '(x)'; exit; fi\n" + script + "\n"
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	return New(Config{Launcher: testDriver().config.Launcher, Binary: path})
}

// launchSpec has no disks: a fake reads none.
func launchSpec() vmm.Spec {
	s := machineSpec()
	s.Disks = nil
	return s
}

const fakeGreeting = `echo '{"QMP": {}}' >&3; `

func TestLaunchFails(t *testing.T) {
	for _, c := range []struct{ name, script, want string }{
		{"dies with words", "echo 'qemu-system-x86_64: -m 1024M: too odd' >&2; exit 1", "launch QEMU: too odd"},
		{"dies without", "exit 1", "launch QEMU: QEMU ended with exit status 1"},
		{"killed", "kill -9 $$", "launch QEMU: QEMU ended with signal: killed"},
		{"dies after the greeting", fakeGreeting + "echo last >&2; exit 3", "launch QEMU: last"},
		{"talks nonsense and stays", "echo nonsense >&3; exec sleep 60", "launch QEMU: read QMP: "},
		{"hangs up and stays", "exec 3>&-; exec sleep 60", "launch QEMU: QEMU closed its monitor"},
		{"refuses", fakeGreeting + `read line <&3; echo '{"id": 1, "error": {"class": "x", "desc": "not now"}}' >&3; exec sleep 60`, "not now"},
		{"floods", "trap '' PIPE; { yes | tr -d '\\n'; } >&3 2>/dev/null; exec sleep 60", "token too long"},
	} {
		t.Run(c.name, func(t *testing.T) {
			// Written before any other test starts a program, which would have the
			// file open for writing for a moment: it could not be executed (ETXTBSY).
			d := fake(t, c.script)
			t.Parallel() // some wait for endLimit
			started := time.Now()
			m, err := d.Launch(t.Context(), launchSpec())
			if err == nil {
				m.Close()
				t.Fatal("Launch: no error")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("Launch: %v, want %q", err, c.want)
			}
			if took := time.Since(started); took > 10*time.Second {
				t.Errorf("Launch took %v to fail", took)
			}
		})
	}
}

func TestLaunchIsGivenUp(t *testing.T) {
	for _, script := range []string{"exec sleep 60", fakeGreeting + "exec sleep 60"} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		m, err := fake(t, script).Launch(ctx, launchSpec())
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Launch of a silent QEMU = %v, %v; want the deadline", m, err)
		}
	}
}

// What QEMU leaves on its pipes is read to the end, and no more is kept than is
// promised.
func TestExitHasTheLastWords(t *testing.T) {
	m, err := fake(t, fakeGreeting+`read line <&3; echo '{"id": 1, "return": {}}' >&3
		printf 'console' >&4
		for i in 1 2 3 4 5 6 7 8 9; do printf '%1000s' $i >&2; done; echo end >&2
		echo '{"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-shutdown"}}' >&3
		exit 7`).Launch(t.Context(), launchSpec())
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	<-m.Done()
	x := m.Exit()
	if x.Code != 7 || x.Signal != 0 || x.Guest != "shutdown" || len(x.Stderr) != stderrKept || !strings.HasSuffix(x.Stderr, "9end\n") {
		t.Errorf("Exit() = %+v, want status 7, a shutdown and the last %d bytes of stderr", x, stderrKept)
	}
	// Read after the end: what was said is still there.
	buf := make([]byte, 20)
	if n, err := m.Console().Read(buf); string(buf[:n]) != "console" {
		t.Errorf("Console().Read = %q, %v; want console", buf[:n], err)
	}
}

func TestProbe(t *testing.T) {
	d := fake(t, "exit 9")
	p := d.Probe(t.Context())
	if !p.Usable || p.Version != "7.2.22" || p.Path != d.config.Binary || (p.Accel != vmm.AccelKVM && p.Accel != vmm.AccelTCG) || p.Why == "" {
		t.Errorf("Probe() = %+v, want a usable QEMU 7.2.22", p)
	}
	// Another file at that path is asked anew; the same one is not.
	asked := filepath.Join(t.TempDir(), "asked")
	script := fmt.Sprintf("#!/bin/sh\necho x >>%s\necho QEMU emulator version 10.0.2\n", asked)
	if err := os.WriteFile(d.config.Binary, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if p = d.Probe(t.Context()); p.Version != "10.0.2" {
			t.Errorf("Probe() after an upgrade = %+v, want version 10.0.2", p)
		}
	}
	if text, _ := os.ReadFile(asked); string(text) != "x\n" {
		t.Errorf("an unchanged QEMU was asked for its version %d times, want once", len(text)/2)
	}
}

func TestProbeSaysWhyNot(t *testing.T) {
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, c := range []struct{ name, binary, want string }{
		{"absent", "/nonexistent/qemu", "/nonexistent/qemu"},
		{"not executable", write("qemu", "", 0o600), "permission denied"},
		{"not QEMU", write("qemu", "#!/bin/sh\necho hello\n", 0o700), "not what was looked for"},
		{"fails", write("qemu", "#!/bin/sh\nexit 3\n", 0o700), "exit status 3"},
		{"not in PATH", "qemu-system-nonexistent", "apt-get install qemu-system-x86"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := New(Config{Launcher: testDriver().config.Launcher, Binary: c.binary})
			if p := d.Probe(t.Context()); p.Usable || !strings.Contains(p.Why, c.want) {
				t.Errorf("Probe() = %+v, want it unusable, with %q", p, c.want)
			}
			if _, err := d.Launch(t.Context(), launchSpec()); err == nil || hint.Of(err) == "" {
				t.Errorf("Launch = %v with the hint %q, want an error and what to type", err, hint.Of(err))
			}
		})
	}
}

func TestLaunchLeavesNoGoroutine(t *testing.T) {
	fake(t, "exit 1").Launch(t.Context(), launchSpec()) // the starter's thread stays
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	m, err := fake(t, fakeGreeting+`read line <&3; echo '{"id": 1, "return": {}}' >&3; exec sleep 60`).Launch(t.Context(), launchSpec())
	if err != nil {
		t.Fatal(err)
	}
	m.Close()
}

func TestLastWords(t *testing.T) {
	args := []string{"-blockdev", `{"a":1}`, "-m", "1M"}
	for stderr, want := range map[string]string{
		"":                                   "",
		"qemu-system-x86_64: warning: odd\n": "",
		"qemu-system-x86_64: -blockdev {\"a\":1}: Could not open '/x': No such file\n":    "Could not open '/x': No such file",
		"qemu-system-x86_64: Failed to get lock\nIs another process using [/x]?\n":        "Failed to get lock: Is another process using [/x]?",
		"qemu: could not load kernel '/k'\n":                                              "could not load kernel '/k'",
		"first\nqemu-system-x86_64: second\n\nqemu-system-x86_64: warning: host\n":        "second",
		"qemu-system-x86_64: cannot set up guest memory 'pc.ram': Cannot allocate memory": "cannot set up guest memory 'pc.ram': Cannot allocate memory",
	} {
		if got := lastWords(stderr, "/usr/bin/qemu-system-x86_64", args); got != want {
			t.Errorf("lastWords(%q) = %q, want %q", stderr, got, want)
		}
	}
}
