package process

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"
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
