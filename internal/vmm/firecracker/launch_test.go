package firecracker

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"banger/internal/channel"
	"banger/internal/hint"
	"banger/internal/kvm"
)

func TestLaunchFails(t *testing.T) {
	for _, c := range []struct{ behaviour, want string }{
		{"dies-at-machine-config", "launch Firecracker: died of /machine-config"},
		{"dies-at-drives", "launch Firecracker: died of /drives/disk0"},
		{"dies-at-actions", "launch Firecracker: died of /actions"},
		{"refuses-at-boot-source", "launch Firecracker: boot-source: no boot-source today"},
		{"refuses-at-actions", "launch Firecracker: actions: no actions today"},
		{"floods-at-vsock", "launch Firecracker: vsock: 400 Bad Request"},
	} {
		t.Run(c.behaviour, func(t *testing.T) {
			// Written before any other test starts a program, which would have the
			// file open for writing for a moment: it could not be executed (ETXTBSY).
			d, s := fake(t, c.behaviour), machineSpec(t)
			t.Parallel() // some wait for endLimit
			m, err := d.Launch(t.Context(), s)
			if err == nil {
				m.Close()
				t.Fatal("Launch: no error")
			}
			if !strings.HasPrefix(err.Error(), c.want) || len(err.Error()) > 2*maxFault {
				t.Errorf("Launch: %.300v, want %q", err, c.want)
			}
			if left, err := os.ReadDir(s.RunDir); err != nil || len(left) > 0 {
				t.Errorf("the run directory has %v, %v; want nothing left", left, err)
			}
		})
	}
}

func TestLaunchIsGivenUp(t *testing.T) {
	for _, behaviour := range []string{"silent", "hangs-at-actions"} {
		d := fake(t, behaviour)
		d.Probe(t.Context()) // its version is known from here on
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		m, err := d.Launch(ctx, machineSpec(t))
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Launch of one that is %s = %v, %v; want the deadline", behaviour, m, err)
		}
	}
}

// Another version of the program may meet a snapshot that these calls made: a
// change is seen before it is made.
func TestCalls(t *testing.T) {
	s := machineSpec(t)
	m, err := fake(t, "records").Launch(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	<-m.Done()
	x := m.Exit()
	if x.Code != 0 || x.Signal != 0 || x.Guest != "reset" {
		t.Errorf("Exit() = %+v, want that the guest did it", x)
	}
	want, err := os.ReadFile("testdata/calls.golden")
	if os.Getenv("BANGER_UPDATE_GOLDEN") != "" {
		want, err = []byte(x.Stderr), os.WriteFile("testdata/calls.golden", []byte(x.Stderr), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), x.Stderr); diff != "" {
		t.Errorf("the calls differ from testdata/calls.golden (-want +got):\n%s", diff)
	}
}

// A guest that has halted leaves Firecracker running: it is ended on its behalf.
func TestHaltedGuest(t *testing.T) {
	m, err := fake(t, "halts").Launch(t.Context(), machineSpec(t))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	go io.Copy(io.Discard, m.Console()) // ends with the machine
	select {
	case <-m.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("a Firecracker whose guest halted runs on")
	}
	if x := m.Exit(); x.Code != 0 || x.Signal != 0 || x.Guest != "shutdown" {
		t.Errorf("Exit() = %+v, want status 0 and the guest's shutdown", x)
	}
}

// A guest whose console only says so lives on.
func TestGuestThatLies(t *testing.T) {
	m, err := fake(t, "lies").Launch(t.Context(), machineSpec(t))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	lines := bufio.NewScanner(m.Console())
	for lines.Scan() && lines.Text() != "asked" {
	}
	select {
	case <-m.Done():
		t.Errorf("the machine was ended by what its console said: %+v", m.Exit())
	case <-time.After(2 * answerLimit):
	}
}

// Cleaners of old files take the directory of sockets away: both sockets are still
// reached.
func TestSweptRunDir(t *testing.T) {
	s := machineSpec(t)
	m, err := fake(t, "stays").Launch(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	go io.Copy(io.Discard, m.Console()) // ends with the machine
	if err := os.RemoveAll(s.RunDir); err != nil {
		t.Fatal(err)
	}
	c, err := m.Carrier().Dial(t.Context(), channel.PortControl)
	if err != nil {
		t.Fatalf("Dial: %v", err)
	}
	c.Close()
	if err := m.(*machine).apiAnswers(t.Context()); err != nil {
		t.Errorf("the API: %v", err)
	}
}

func TestProbe(t *testing.T) {
	d := fake(t, "records")
	p := d.Probe(t.Context())
	if !p.Usable || p.Version != "1.16.1" || p.Path != d.config.Binary || p.Accel != "kvm" || p.MaxVCPUs != 32 {
		t.Errorf("Probe() = %+v, want a usable Firecracker 1.16.1", p)
	}
	d.kvm = func() kvm.Finding { return kvm.Finding{Why: "there is none"} }
	if p := d.Probe(t.Context()); p.Usable || p.Why != "there is none" {
		t.Errorf("Probe() without KVM = %+v, want it unusable, and why", p)
	}
	if _, err := d.Launch(t.Context(), machineSpec(t)); err == nil || hint.Of(err) == "" {
		t.Errorf("Launch without KVM: %v, want an error and what to type", err)
	}
	d = New(Config{Binary: "nonexistent-firecracker"})
	if p := d.Probe(t.Context()); p.Usable || !strings.Contains(p.Why, "not in PATH") {
		t.Errorf("Probe() without a Firecracker = %+v", p)
	}
	old := filepath.Join(t.TempDir(), "firecracker")
	if err := os.WriteFile(old, []byte("#!/bin/sh\necho Firecracker v1.9.2\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if p := New(Config{Binary: old}).Probe(t.Context()); p.Usable || !strings.Contains(p.Why, `"1.9.2", 1.10 is needed`) {
		t.Errorf("Probe() of an old Firecracker = %+v", p)
	}
}

func TestCheckVersion(t *testing.T) {
	for v, ok := range map[string]bool{"1.10.0": true, "1.16.1": true, "1.17.0-dev": true, "2.0.0": true, "1.9.1": false, "0.25.2": false, "": false, "1": false, "x.y.z": false} {
		if err := checkVersion(v); (err == nil) != ok {
			t.Errorf("checkVersion(%q) = %v, want ok %v", v, err, ok)
		}
	}
}

func TestLaunchLeavesNoGoroutine(t *testing.T) {
	fake(t, "dies-at-vsock").Launch(t.Context(), machineSpec(t)) // the starter's thread stays
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	m, err := fake(t, "stays").Launch(t.Context(), machineSpec(t))
	if err != nil {
		t.Fatal(err)
	}
	m.Close()
}
