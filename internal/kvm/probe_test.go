package kvm

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// The test binary runs the guest.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == Verb {
		Main()
	}
	os.Exit(m.Run())
}

// A real KVM runs the guest, and one that Look refuses may not.
func TestProbe(t *testing.T) {
	f := Look(Device, "/proc")
	began := time.Now()
	err := Probe(t.Context(), os.Args[0])
	took := time.Since(began)
	t.Logf("%v after %v; %s", err, took, f)
	if f.Usable && err != nil {
		t.Errorf("Probe: %v, where %s", err, f.Why)
	}
	if took > ProbeLimit+time.Second {
		t.Errorf("Probe took %v, its limit is %v", took, ProbeLimit)
	}
}

// fake writes a program in the probe's place.
func fake(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "probe")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestProbeSaysWhy(t *testing.T) {
	for script, want := range map[string]string{
		"exit 1":                      "exit status 1",
		"echo KVM_RUN: no; exit 1":    "KVM_RUN: no",
		"kill -9 $$":                  "killed",
		"yes | head -c 60000; exit 1": "y\ny",
	} {
		if err := Probe(t.Context(), fake(t, script)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Probe by %q: %v, want %q", script, err, want)
		}
	}
	if err := Probe(t.Context(), "/nonexistent"); err == nil {
		t.Error("Probe by what is not there: no error")
	}
	if err := Probe(t.Context(), fake(t, "exit 0")); err != nil {
		t.Errorf("Probe: %v", err)
	}
}

// A probe that hangs is ended.
func TestProbeGivesUp(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	pid := filepath.Join(t.TempDir(), "pid")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := Probe(ctx, fake(t, "echo $$ >"+pid+"; exec sleep 60")); err != errSlow {
		t.Errorf("Probe of what hangs: %v, want %v", err, errSlow)
	}
	text, err := os.ReadFile(pid)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat("/proc/" + strings.TrimSpace(string(text))); err != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %s was not ended", text)
		}
	}
}

// The guest's steps that need no KVM: a device that is none.
func TestGuestNeedsADevice(t *testing.T) {
	for device, want := range map[string]string{
		"/nonexistent": "no such file",
		"/dev/null":    "KVM_GET_API_VERSION",
	} {
		if err := runGuest(device); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("runGuest(%q): %v, want %q", device, err, want)
		}
	}
}
