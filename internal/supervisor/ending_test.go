package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"banger/internal/hint"
	"banger/internal/paths"
	"banger/internal/process"
	"banger/internal/vm"
	"banger/internal/vmm"
)

const trace = "[    3.100000] CPU: 0 PID: 1 Comm: init Not tainted\r\n[    3.200000] Call Trace:\r\n[    3.300000]  <TASK>\r\n[    3.400000] Kernel Offset: disabled\r\n"

func TestPanicAtEnd(t *testing.T) {
	const line = "Kernel panic - not syncing: Attempted to kill init!"
	for _, c := range []struct{ name, console, want string }{
		{"a panic", "x\r\n[    3.000000] " + line + "\r\n" + trace, line},
		{"a panic behind a prompt", "login: [    3.000000] " + line + "\r\n" + trace, line},
		{"a panic with the caller's id", "[    3.000000][    T1] " + line + "\r\n", line},
		{"a line of root's, then a good end", line + "\r\n[    9.000000] reboot: Restarting system\r\n", ""},
		{"a message of root's, then a good end", "[    3.000000] " + line + "\r\n[    9.000000] reboot: Power down\r\n", ""},
		{"a message of root's, and programs go on", "[    3.000000] " + line + "\r\nlogin: ", ""},
		{"a line of root's at the end", "x\n" + line + "\n", ""},
		{"nothing", "", ""},
	} {
		if got := panicAtEnd([]byte(c.console)); got != c.want {
			t.Errorf("%s: panicAtEnd = %q, want %q", c.name, got, c.want)
		}
	}
}

func TestGuestEnded(t *testing.T) {
	const panicked = "[    3.000000] Kernel panic - not syncing: x\r\n"
	for _, c := range []struct {
		name, console string
		exit          vmm.Exit
		outOfMemory   bool
		cause, detail string
	}{
		{"reset", "", vmm.Exit{Guest: "reset"}, false, vm.CauseGuest, "the guest ended itself (reset)"},
		{"panic by the VMM's word", "", vmm.Exit{Guest: "panic"}, false, vm.CausePanic, "the guest's kernel panicked"},
		{"panic by a reset", panicked, vmm.Exit{Guest: "reset"}, false, vm.CausePanic, "Kernel panic - not syncing: x"},
		{"shutdown after the message", panicked, vmm.Exit{Guest: "shutdown"}, false, vm.CauseGuest, "the guest ended itself (shutdown)"},
		{"killed", "", vmm.Exit{Code: -1, Signal: 9}, false, vm.CauseVMM, "the VMM was ended by signal 9 (killed)"},
		{"killed for want of memory", "", vmm.Exit{Code: -1, Signal: 9}, true, vm.CauseMemory, "the host ran out of memory"},
		{"aborted beside that", "", vmm.Exit{Code: -1, Signal: 6}, true, vm.CauseVMM, "the VMM was ended by signal 6 (aborted)"},
		{"broken", "", vmm.Exit{Code: 3, Stderr: "a\nout of luck\n"}, false, vm.CauseVMM, "the VMM ended with status 3: out of luck"},
	} {
		l, err := openConsoleLog(filepath.Join(t.TempDir(), paths.ConsoleFile))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		l.Write([]byte(c.console))
		r := &run{console: l}
		if e := r.guestEnded(c.exit, c.outOfMemory); e.Cause != c.cause || e.Detail != c.detail {
			t.Errorf("%s: guestEnded = %s, %q; want %s, %q", c.name, e.Cause, e.Detail, c.cause, c.detail)
		}
	}
}

func TestRunFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadEnding(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadEnding before the end: %v, want fs.ErrNotExist", err)
	}
	e := launchFailed(fmt.Errorf("launch it: %w", hint.Add(errors.New("no such program"), "banger doctor")))
	if err := writeEnding(dir, Status{Protocol: Protocol, Phase: Gone, Ending: e, Failed: true}); err != nil {
		t.Fatal(err)
	}
	got, err := ReadEnding(dir)
	if err != nil || got.Hint != "banger doctor" || got.Detail != "launch it: no such program" {
		t.Errorf("ReadEnding = %+v, %v; want what was written, with its hint", got, err)
	}
	if s, err := ReadRun(dir); err != nil || !s.Failed || s.Phase != Gone {
		t.Errorf("ReadRun = %+v, %v; want what was written", s, err)
	}
}

func TestOrderFile(t *testing.T) {
	o := Order{
		Spec: vmm.Spec{
			ID: vm.NewID(), Dir: t.TempDir(), VCPUs: 2, MemMiB: 512, Kernel: "/k", Initrd: "/i",
			Found: vmm.Probe{Usable: true, Accel: vmm.AccelKVM}, Disks: []vmm.Disk{{Path: "/d", ReadOnly: true}},
		},
		Name: "a", Driver: "qemu", Op: "o", Protocol: Protocol,
	}
	if err := WriteOrder(o); err != nil {
		t.Fatal(err)
	}
	got, err := ReadOrder(o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(o, got); d != "" {
		t.Errorf("ReadOrder (-want +got):\n%s", d)
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	held := func(want bool) *vm.Process {
		t.Helper()
		got, by, err := Held(dir)
		if err != nil || got != want {
			t.Errorf("Held = %v, %v; want %v", got, err, want)
		}
		return by
	}
	held(false)
	f, err := TakeLock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if by := held(true); by != nil {
		t.Errorf("Held names %+v before a supervisor wrote itself down", by)
	}
	if _, err := TakeLock(dir); !errors.Is(err, ErrHeld) {
		t.Errorf("a second TakeLock: %v, want ErrHeld", err)
	}
	self, err := process.Self()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Dup(int(f.Fd())) // as a supervisor inherits it
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	kept, err := keepLock(fd, self)
	if err != nil {
		t.Fatal(err)
	}
	if by := held(true); by == nil || *by != self {
		t.Errorf("Held names %+v, want %+v", by, self)
	}
	kept.Close()
	held(false)
	f, err = TakeLock(dir)
	if err != nil {
		t.Fatalf("TakeLock after the end: %v", err)
	}
	f.Close()
}
