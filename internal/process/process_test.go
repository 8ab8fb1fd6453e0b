package process

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"banger/internal/vm"
)

func TestParseStat(t *testing.T) {
	for text, want := range map[string]uint64{
		"1 (a) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 42 9 9":                 42,
		"1 (a) b (c) R 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 43 9 9":           43,
		"1 () S) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 18446744073709551615": 1<<64 - 1,
	} {
		if _, got, err := parseStat([]byte(text)); err != nil || got != want {
			t.Errorf("parseStat(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "1 (a", "1 (a) S 0 1", "1 (a) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 x 9"} {
		if _, _, err := parseStat([]byte(text)); err == nil {
			t.Errorf("parseStat(%q): no error", text)
		}
	}
}

func TestHandle(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p, err := Of(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	h, err := Open(p)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if err := h.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Wait for a process that runs: %v, want the deadline", err)
	}
	if err := h.Kill(); err != nil {
		t.Fatal(err)
	}
	// Not reaped yet: a zombie has ended.
	if err := h.Wait(context.Background()); err != nil {
		t.Errorf("Wait: %v", err)
	}
	if Alive(p) {
		t.Error("a zombie counts as alive")
	}
	cmd.Wait()
	if err := h.Signal(0); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("Signal after the end: %v, want ErrProcessDone", err)
	}
	if _, err := Open(p); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("Open after the end: %v, want ErrProcessDone", err)
	}
}

func TestAnotherBootOrStartIsAnotherProcess(t *testing.T) {
	self, err := Self()
	if err != nil {
		t.Fatal(err)
	}
	reused, otherBoot := self, self
	reused.StartTicks++
	otherBoot.BootID = "00000000-0000-0000-0000-000000000000"
	for _, p := range []struct{ name string }{{"reused"}, {"boot"}} {
		q := reused
		if p.name == "boot" {
			q = otherBoot
		}
		if _, err := Open(q); !errors.Is(err, os.ErrProcessDone) {
			t.Errorf("%s: Open = %v, want ErrProcessDone", p.name, err)
		}
	}
}

// A process that is not our child, waited for by several at once.
func TestWaitForAGrandchild(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	cmd := exec.Command("sh", "-c", "sleep 60 >/dev/null 2>&1 & echo $!")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	p, err := Of(pid)
	if err != nil {
		t.Fatal(err)
	}
	h, err := Open(p)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	given, cancel := context.WithCancel(context.Background())
	var waits sync.WaitGroup
	for range 4 {
		waits.Go(func() {
			if err := h.Wait(context.Background()); err != nil {
				t.Errorf("Wait = %v, want the process's end", err)
			}
		})
	}
	var givenUp sync.WaitGroup
	givenUp.Go(func() {
		if err := h.Wait(given); !errors.Is(err, context.Canceled) {
			t.Errorf("Wait = %v, want its own context's end", err)
		}
	})
	cancel()
	givenUp.Wait() // one that gives up takes no other along
	if err := h.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	waits.Wait()
	if Alive(p) {
		t.Error("the process is alive after Wait")
	}
}

func TestNameOfTheProgramIsNoMatter(t *testing.T) {
	dir := t.TempDir()
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a) S 1 1", "(", "x\ny"} {
		path := filepath.Join(dir, name)
		text, err := os.ReadFile(sleep)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o700); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(path, "60")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		p, err := Of(cmd.Process.Pid)
		if err != nil || !Alive(p) || p.StartTicks == 0 {
			t.Errorf("Of(a program named %q) = %+v, %v; want it alive", name, p, err)
		}
		cmd.Process.Kill()
		cmd.Wait()
	}
}

func TestNoSuchProcess(t *testing.T) {
	for _, pid := range []int{0, -1, 1 << 30} {
		if p, err := Of(pid); err == nil {
			t.Errorf("Of(%d) = %+v, want an error", pid, p)
		}
		if _, err := Open(vm.Process{BootID: BootID(), PID: pid}); err == nil {
			t.Errorf("Open(%d): no error", pid)
		}
	}
	if Alive(vm.Process{}) {
		t.Error("the zero Process is alive")
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("1 (a) b) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 42 9 9"))
	f.Add([]byte("1 (a"))
	f.Fuzz(func(t *testing.T, text []byte) {
		state, start, err := parseStat(text)
		if err != nil {
			return
		}
		// Only what comes after the command counts.
		line := append([]byte("9 (other) name"), text[bytes.LastIndexByte(text, ')'):]...)
		if state2, start2, err := parseStat(line); err != nil || state2 != state || start2 != start {
			t.Errorf("parseStat(%q) = %q, %d, %v; of %q it is %q, %d", line, state2, start2, err, text, state, start)
		}
	})
}
