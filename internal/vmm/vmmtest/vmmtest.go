// Package vmmtest is the contract that every driver of package vmm keeps, as
// tests with a real VMM and a real guest: a kernel, an initramfs of modules,
// and as /init the program in vmmtest/guest. A driver whose VMM has no kernel
// plays that guest itself.
//
// A driver's tests call Run, and Supervise from TestMain.
package vmmtest

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"banger/internal/channel"
	"banger/internal/process"
	"banger/internal/vm"
	"banger/internal/vmm"
)

// Limits of the suite's waits: an emulated guest of its kind says hello in 2 to
// 4 s on an idle machine.
const (
	bootLimit = 60 * time.Second
	endLimit  = 15 * time.Second
)

// Config is what a driver's tests give to Run.
type Config struct {
	New    func() vmm.Driver
	Kernel string // ELF vmlinux, or "" if the driver's VMM has no kernel
	// Initrd holds the modules that the VMM's devices need, anywhere in it and
	// not compressed one by one; its /init is replaced by the suite's.
	Initrd string
	// Ends says how the VMM tells the guest's ends: what Exit.Guest is after
	// the guest's "reset", "poweroff" and "panic". One that is absent does not
	// end this VMM.
	Ends map[string]string
	// Slow makes the guest of a spec boot for a second, if the driver's guests
	// are faster than that. It leaves nothing in the spec's own directories.
	Slow func(*testing.T, vmm.Spec)
	// Opens are beginnings of paths that the VMM's program opens for itself.
	Opens []string
}

// Run holds the driver of c to the contract.
func Run(t *testing.T, c Config) {
	s := &suite{Config: c, initrd: filepath.Join(t.TempDir(), "initrd")}
	if c.Kernel == "" {
		s.writeBlanks(t)
	} else if err := packInitrd(s.initrd, c.Initrd, buildGuest(t)); err != nil {
		t.Fatal(err)
	}
	// After a first launch all that a driver keeps for good is there.
	m, err := s.New().Launch(t.Context(), s.spec(t))
	if err != nil {
		t.Fatal(err)
	}
	m.Close()
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("GuestSaysHello", s.guestSaysHello)
	t.Run("GuestEnds", s.guestEnds)
	t.Run("Killed", s.killed)
	t.Run("AskedToEnd", s.askedToEnd)
	t.Run("CloseDuringBringUp", s.closeDuringBringUp)
	t.Run("CancelDuringLaunch", s.cancelDuringLaunch)
	t.Run("CancelAfterLaunch", s.cancelAfterLaunch)
	t.Run("Refused", s.refused)
	t.Run("Disks", s.disks)
	t.Run("TwoShareABase", s.twoShareABase)
	t.Run("Confined", s.confined)
	t.Run("SupervisorKilled", s.supervisorKilled)
	t.Run("KilledDuringLaunch", s.killedDuringLaunch)
	t.Run("KilledDuringBoot", s.killedDuringBoot)
	t.Run("KilledDuringEnd", s.killedDuringEnd)
	t.Run("BadDisks", s.badDisks)
	t.Run("LaunchedTwice", s.launchedTwice)
	t.Run("StaleFiles", s.staleFiles)
	t.Run("NoSpace", s.noSpace)
}

type suite struct {
	Config
	initrd string
}

// writeBlanks writes a kernel and an initrd for a VMM that only looks whether
// they are there.
func (s *suite) writeBlanks(t *testing.T) {
	t.Helper()
	s.Kernel = filepath.Join(filepath.Dir(s.initrd), "kernel")
	for _, path := range []string{s.Kernel, s.initrd} {
		if err := os.WriteFile(path, []byte("blank"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// slowSpec is spec's machine with a guest that boots for a second or more.
func (s *suite) slowSpec(t *testing.T) vmm.Spec {
	t.Helper()
	spec := s.spec(t)
	if s.Slow != nil {
		s.Slow(t, spec)
	}
	return spec
}

// spec is a machine with one disk that nobody may write and one that may be,
// both of 1 MiB.
func (s *suite) spec(t *testing.T) vmm.Spec {
	t.Helper()
	dir := t.TempDir()
	spec := vmm.Spec{
		ID: vm.NewID(), Dir: filepath.Join(dir, "vm"), RunDir: filepath.Join(dir, "run"),
		VCPUs: 1, MemMiB: 192, Kernel: s.Kernel, Initrd: s.initrd,
		Cmdline: "loglevel=4", // most of a boot's time would be the console's
		Disks:   []vmm.Disk{{Path: filepath.Join(dir, "base, read-only"), ReadOnly: true}, {Path: filepath.Join(dir, "data")}},
	}
	for _, d := range []string{spec.Dir, spec.RunDir} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for i, word := range []string{"base", "data"} {
		if err := os.WriteFile(spec.Disks[i].Path, append([]byte(word+"\n"), make([]byte, 1<<20-5)...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return spec
}

// guest is a launched machine whose console is drained, as a supervisor does.
type guest struct {
	vmm.Machine
	console *buffer
	drained chan struct{}
}

// start launches spec; at the test's end the machine is closed and its process
// must be gone.
func (s *suite) start(t *testing.T, ctx context.Context, spec vmm.Spec) *guest {
	t.Helper()
	m, err := s.New().Launch(ctx, spec)
	if err != nil {
		t.Fatalf("Launch: %v", err)
	}
	g := &guest{m, new(buffer), make(chan struct{})}
	go func() { // ends with the VMM
		io.Copy(g.console, m.Console())
		close(g.drained)
	}()
	t.Cleanup(func() {
		for range 2 {
			if err := m.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
		wait(t, "the console's end", g.drained)
		wait(t, "Done", m.Done())
		if process.Alive(m.Process()) {
			t.Errorf("process %d lives on after Close", m.Process().PID)
		}
		if t.Failed() {
			t.Logf("console:\n%s", g.console)
		}
	})
	return g
}

// launch is start for a test with one machine, which leaves nothing.
func (s *suite) launch(t *testing.T, ctx context.Context, spec vmm.Spec) *guest {
	t.Helper()
	before := openFiles(t)
	t.Cleanup(func() { nothingLeft(t, spec, before) }) // after start's
	return s.start(t, ctx, spec)
}

// up launches spec and waits for the guest's hello.
func (s *suite) up(t *testing.T, spec vmm.Spec) *guest {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), bootLimit)
	defer cancel()
	g := s.launch(t, ctx, spec)
	g.hello(t, ctx)
	return g
}

func (g *guest) hello(t *testing.T, ctx context.Context) channel.Hello {
	t.Helper()
	h, err := g.Carrier().Hello(ctx)
	if err != nil {
		t.Fatalf("Hello: %v\nconsole:\n%s", err, g.console)
	}
	return h
}

// order tells the guest's program something and returns its answer.
func (g *guest) order(ctx context.Context, words string) (string, error) {
	c, err := g.Carrier().Dial(ctx, channel.PortControl)
	if err != nil {
		return "", err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	if _, err := io.WriteString(c, words+"\n"); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(io.LimitReader(c, 4<<10))
	return strings.TrimSpace(string(answer)), err
}

func (g *guest) ask(t *testing.T, words, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), endLimit)
	defer cancel()
	if got, err := g.order(ctx, words); err != nil || got != want {
		t.Errorf("the guest answers %q with %q, %v; want %q", words, got, err, want)
	}
}

func wait(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(endLimit):
		t.Fatalf("%s did not come within %v", what, endLimit)
	}
}

// nothingLeft checks for descriptors, children and files that a machine left.
// Descriptors of net/http's connections close a moment after the fact.
func nothingLeft(t *testing.T, spec vmm.Spec, before int) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Second); openFiles(t) > before; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("%d descriptors are open, %d were before", openFiles(t), before)
			break
		}
	}
	if c := children(t); len(c) > 0 {
		t.Errorf("children left: %v", c)
	}
	for _, dir := range []string{spec.RunDir, spec.Dir} {
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) > 0 {
			t.Errorf("%s has %v, %v; want nothing left", dir, entries, err)
		}
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// children are this process's, running or not waited for.
func children(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil || len(files) == 0 {
		t.Fatalf("list children: %v", err)
	}
	var all []string
	for _, f := range files {
		text, _ := os.ReadFile(f) // a thread that has ended has none
		all = append(all, strings.Fields(string(text))...)
	}
	slices.Sort(all)
	return all
}

// buffer is a bytes.Buffer for a writer and a reader at once.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
