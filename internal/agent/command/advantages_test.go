package command

import (
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"banger/internal/channel/exec"
)

// A command, and what it starts at once, has neither of the agent's advantages.
// The agent has them again afterwards.
func TestWithoutAdvantages(t *testing.T) {
	text, err := os.ReadFile(oomAdjust)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(oomAdjust, []byte("-500"), 0); err != nil {
		t.Skipf("only root can lower oom_score_adj: %v", err)
	}
	defer os.WriteFile(oomAdjust, text, 0)
	runtime.LockOSThread() // never unlocked: the thread ends with its nice value
	if err := unix.Setpriority(unix.PRIO_PROCESS, 0, -10); err != nil {
		t.Skipf("only root can lower the nice value: %v", err)
	}
	var running sync.WaitGroup
	for range 10 {
		running.Go(func() { // ends with its command
			out := make([]byte, 64)
			p, status := start(exec.Request{Argv: exec.Args("/bin/sh", "-c", "cat /proc/self/oom_score_adj")}, Terminal{}, nil, nil, nil)
			if p == nil {
				t.Errorf("start: %+v", status)
				return
			}
			defer p.close()
			n, _ := p.stdout.Read(out)
			p.wait()
			if got := strings.TrimSpace(string(out[:n])); got != "0" {
				t.Errorf("a command's oom_score_adj is %q, want 0", got)
			}
		})
	}
	running.Wait()
	p, status := start(exec.Request{Argv: exec.Args("/usr/bin/nice")}, Terminal{}, nil, nil, nil)
	if p == nil {
		t.Fatalf("start: %+v", status)
	}
	defer p.close()
	out := make([]byte, 64)
	n, _ := p.stdout.Read(out)
	p.wait()
	if got := strings.TrimSpace(string(out[:n])); got != "0" {
		t.Errorf("a command's nice value is %q, want 0", got)
	}
	if raw, err := unix.Getpriority(unix.PRIO_PROCESS, 0); err != nil || 20-raw != -10 {
		t.Errorf("afterwards the nice value is %d, %v; want -10", 20-raw, err)
	}
	if text, err := os.ReadFile(oomAdjust); err != nil || strings.TrimSpace(string(text)) != "-500" {
		t.Errorf("afterwards oom_score_adj is %q, %v; want -500", text, err)
	}
}
