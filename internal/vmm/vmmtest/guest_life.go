package vmmtest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"banger/internal/channel"
	"banger/internal/process"
)

func (s *suite) guestSaysHello(t *testing.T) {
	spec := s.spec(t)
	spec.VCPUs = 2
	// Longer than a socket's path may be.
	spec.RunDir = filepath.Join(filepath.Dir(spec.RunDir), strings.Repeat("long", 30))
	if err := os.Mkdir(spec.RunDir, 0o700); err != nil {
		t.Fatal(err)
	}
	spec.Cmdline = "vmmtest.word=1"
	g := s.up(t, spec)
	first := g.hello(t, t.Context())
	if first.Agent != "vmmtest" || len(first.BootID) != 36 {
		t.Errorf("Hello = %+v, want agent vmmtest and a boot id", first)
	}
	if again := g.hello(t, t.Context()); again != first {
		t.Errorf("a second Hello = %+v, want the first %+v", again, first)
	}
	g.ask(t, "cpus", "0-1")
	if !process.Alive(g.Process()) {
		t.Errorf("Process() = %+v, which is not alive", g.Process())
	}
	// The console from its first line, on which the kernel names itself.
	line, _, _ := strings.Cut(strings.TrimLeft(g.console.String(), "\r\n"), "\n")
	if !strings.Contains(line, "Linux version") {
		t.Errorf("the console begins with %q, want the kernel's first line", line)
	}
	if !strings.Contains(g.console.String(), " vmmtest.word=1") {
		t.Error("the spec's command line did not reach the kernel")
	}
}

func (s *suite) guestEnds(t *testing.T) {
	for _, order := range []string{"reset", "poweroff", "panic"} {
		want, ok := s.Ends[order]
		if !ok {
			continue
		}
		t.Run(order, func(t *testing.T) {
			g := s.up(t, s.spec(t))
			ctx, cancel := context.WithTimeout(context.Background(), endLimit)
			defer cancel()
			go g.order(ctx, order) // gets no answer; ends with the VMM
			wait(t, "Done", g.Done())
			if x := g.Exit(); x.Code != 0 || x.Signal != 0 || x.Guest != want || time.Since(x.At) > endLimit {
				t.Errorf("Exit() = %+v, want status 0 and the guest's %q, now", x, want)
			}
		})
	}
}

func (s *suite) killed(t *testing.T) {
	g := s.up(t, s.spec(t))
	stream, err := g.Carrier().Dial(t.Context(), channel.PortControl)
	if err != nil {
		t.Fatalf("Dial: %v", err)
	}
	defer stream.Close()
	read := make(chan struct{})
	go func() { // ends with the VMM
		defer close(read)
		if n, err := stream.Read(make([]byte, 1)); err == nil {
			t.Errorf("Read = %d from a guest that says nothing", n)
		}
	}()
	if err := g.Signal(syscall.SIGKILL); err != nil {
		t.Fatalf("Signal(SIGKILL): %v", err)
	}
	wait(t, "the end of a stream", read)
	wait(t, "Done", g.Done())
	if x := g.Exit(); x.Code != -1 || x.Signal != int(syscall.SIGKILL) || x.Guest != "" {
		t.Errorf("Exit() = %+v, want signal 9, status -1 and no deed of the guest", x)
	}
	if err := g.Signal(syscall.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("Signal after the end: %v, want ErrProcessDone", err)
	}
	if process.Alive(g.Process()) {
		t.Error("the process lives on after Done")
	}
	for _, port := range []uint32{channel.PortControl, channel.PortExec} {
		ctx, cancel := context.WithTimeout(context.Background(), endLimit)
		if _, err := g.Carrier().Dial(ctx, port); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Dial(%d) after the VMM's end: %v, want an error at once", port, err)
		}
		cancel()
	}
}

// A host that shuts down asks every process to end: a VMM leaves that to its
// supervisor, who lets the guest write what it has.
func (s *suite) askedToEnd(t *testing.T) {
	g := s.up(t, s.spec(t))
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT} {
		if err := g.Signal(sig); err != nil {
			t.Fatalf("Signal(%v): %v", sig, err)
		}
		g.ask(t, "cpus", "0")
	}
	select {
	case <-g.Done():
		t.Errorf("the VMM ended: %+v", g.Exit())
	case <-time.After(100 * time.Millisecond): // a handler would have ended it by now
	}
}

func (s *suite) closeDuringBringUp(t *testing.T) {
	g := s.launch(t, context.Background(), s.slowSpec(t))
	hello := make(chan error, 1)
	ctx, cancel := context.WithTimeout(context.Background(), bootLimit)
	defer cancel()
	go func() { // ends with Close or ctx
		_, err := g.Carrier().Hello(ctx)
		hello <- err
	}()
	var closing sync.WaitGroup
	for range 3 {
		closing.Go(func() {
			if err := g.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
	closing.Wait()
	wait(t, "Done", g.Done())
	if err := <-hello; err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Hello during Close: %v, want an error at once", err)
	}
}

func (s *suite) cancelAfterLaunch(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	g := s.launch(t, ctx, s.spec(t))
	cancel()
	booting, cancelBoot := context.WithTimeout(context.Background(), bootLimit)
	defer cancelBoot()
	g.hello(t, booting)
	g.ask(t, "cpus", "0")
}

func (s *suite) disks(t *testing.T) {
	spec := s.spec(t)
	g := s.up(t, spec)
	g.ask(t, "read vda", "base")
	g.ask(t, "read vdb", "data")
	ctx, cancel := context.WithTimeout(context.Background(), endLimit)
	defer cancel()
	if answer, err := g.order(ctx, "write vda spoilt"); err != nil || !strings.HasPrefix(answer, "error: ") {
		t.Errorf("a write to the read-only disk: %q, %v; want it refused", answer, err)
	}
	g.ask(t, "write vdb kept", "written")
	g.ask(t, "read vdb", "kept")
	g.Close()
	for i, want := range []string{"base\n", "kept\n"} {
		text, err := os.ReadFile(spec.Disks[i].Path)
		if err != nil || string(text[:5]) != want {
			t.Errorf("%s begins with %q, %v; want %q", spec.Disks[i].Path, text[:5], err, want)
		}
	}
}

func (s *suite) twoShareABase(t *testing.T) {
	first, second := s.spec(t), s.spec(t)
	second.Disks[0] = first.Disks[0]
	a := s.up(t, first)
	ctx, cancel := context.WithTimeout(context.Background(), bootLimit)
	defer cancel()
	b := s.start(t, ctx, second)
	if hello, other := b.hello(t, ctx), a.hello(t, ctx); hello.BootID == other.BootID {
		t.Errorf("both guests say the boot id %q", hello.BootID)
	}
	b.ask(t, "read vda", "base")
	a.ask(t, "read vda", "base")
	if err := b.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	wait(t, "Done", b.Done())
	a.ask(t, "read vda", "base")
}
