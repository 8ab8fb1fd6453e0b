package vmmtest

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"banger/internal/channel"
)

// killedDuringLaunch kills whatever the launch has started so far, again and
// again: an error soon, or a machine that has ended; and nothing left.
func (s *suite) killedDuringLaunch(t *testing.T) {
	for _, after := range []time.Duration{1, 5, 10, 20, 40, 60, 80, 120, 200, 400} {
		spec := s.spec(t)
		before := openFiles(t)
		timer := time.AfterFunc(after*time.Millisecond, func() {
			for _, pid := range children(t) {
				if n, err := strconv.Atoi(pid); err == nil {
					syscall.Kill(n, syscall.SIGKILL) // an error says that it is gone
				}
			}
		})
		ctx, cancel := context.WithTimeout(context.Background(), endLimit)
		m, err := s.New().Launch(ctx, spec)
		timer.Stop()
		if ctx.Err() != nil {
			t.Errorf("Launch of what was killed after %d ms took %v: %v", after, endLimit, err)
		}
		cancel()
		if err == nil {
			m.Signal(syscall.SIGKILL) // where the timer came too late
			wait(t, "Done", m.Done())
			if x := m.Exit(); x.Signal != int(syscall.SIGKILL) || x.Guest != "" {
				t.Errorf("Exit() = %+v, want signal 9 and no deed of the guest", x)
			}
			m.Close()
		} else if strings.Contains(err.Error(), "\n") {
			t.Errorf("Launch: %q, want one line", err)
		}
		nothingLeft(t, spec, before)
	}
}

// killedDuringBoot kills the VMM while the guest boots: whoever waits for the
// hello hears of it at once.
func (s *suite) killedDuringBoot(t *testing.T) {
	for _, after := range []time.Duration{0, 100 * time.Millisecond, 700 * time.Millisecond} {
		g := s.launch(t, context.Background(), s.slowSpec(t))
		time.AfterFunc(after, func() { g.Signal(syscall.SIGKILL) })
		ctx, cancel := context.WithTimeout(context.Background(), bootLimit)
		if _, err := g.Carrier().Hello(ctx); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Hello of a VMM that was killed after %v: %v, want an error at once", after, err)
		}
		cancel()
		wait(t, "Done", g.Done())
		g.Close() // its leftovers are looked for at the test's end
	}
}

// killedDuringEnd kills the VMM while the guest ends itself: one of the two was
// first, and the exit says which.
func (s *suite) killedDuringEnd(t *testing.T) {
	g := s.up(t, s.spec(t))
	ctx, cancel := context.WithTimeout(context.Background(), endLimit)
	defer cancel()
	go g.order(ctx, "reset") // gets no answer; ends with the VMM
	time.Sleep(5 * time.Millisecond)
	g.Signal(syscall.SIGKILL) // an error says that it is gone
	wait(t, "Done", g.Done())
	if x := g.Exit(); (x.Signal == int(syscall.SIGKILL)) == (x.Code == 0) {
		t.Errorf("Exit() = %+v, want either signal 9 or status 0", x)
	}
}

// badDisks are refused by name before anything is started.
func (s *suite) badDisks(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(path string) error
		want  string
	}{
		{"empty", func(path string) error { return os.Truncate(path, 0) }, "0 bytes"},
		{"odd size", func(path string) error { return os.Truncate(path, 1<<20-1) }, "1048575 bytes"},
		{"pipe", func(path string) error { return errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)) }, "neither"},
		{"not to be written", func(path string) error { return os.Chmod(path, 0o400) }, "permission denied"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "not to be written" && os.Getuid() == 0 {
				t.Skip("root may write every file")
			}
			spec := s.spec(t)
			path := spec.Disks[1].Path
			if err := c.spoil(path); err != nil {
				t.Fatal(err)
			}
			before := openFiles(t)
			m, err := s.New().Launch(t.Context(), spec)
			if err == nil {
				m.Close()
				t.Fatal("Launch: no error")
			}
			if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Launch: %v; want %q and the disk's path", err, c.want)
			}
			nothingLeft(t, spec, before)
		})
	}
}

// launchedTwice launches a second machine from the first one's directories and
// with its disks: it is refused, and the first one goes on. After that one's
// end there is room for a third.
func (s *suite) launchedTwice(t *testing.T) {
	spec := s.spec(t)
	g := s.up(t, spec)
	second := spec
	for name, change := range map[string]func(){
		"the same spec": func() {},
		"only the disk": func() {
			second = s.spec(t)
			second.Disks[1] = spec.Disks[1]
		},
	} {
		second = spec
		change()
		m, err := s.New().Launch(t.Context(), second)
		if err == nil {
			m.Close()
			t.Fatalf("Launch with %s: no error", name)
		}
		if !strings.Contains(err.Error(), "another machine") {
			t.Errorf("Launch with %s: %v; want that another machine has it", name, err)
		}
	}
	g.ask(t, "read vdb", "data")
	g.Close()
	third, err := s.New().Launch(t.Context(), spec)
	if err != nil {
		t.Fatalf("Launch after the first one's end: %v", err)
	}
	third.Close()
}

// staleFiles launches where a killed supervisor has left what it had.
func (s *suite) staleFiles(t *testing.T) {
	spec := s.spec(t)
	s.superviseAndKill(t, supervisor(t, role, spec))
	g := s.up(t, spec)
	g.ask(t, "read vdb", "data")
	// And once more, over the files of a machine that ended well.
	g.Close()
	again := s.start(t, t.Context(), spec)
	again.hello(t, t.Context())
	stream, err := again.Carrier().Dial(t.Context(), channel.PortControl)
	if err != nil {
		t.Fatalf("Dial: %v", err)
	}
	stream.Close()
}
