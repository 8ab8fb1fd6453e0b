package vmmtest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"banger/internal/process"
	"banger/internal/vm"
	"banger/internal/vmm"
)

// role is the verb under which a test binary plays a supervisor.
const role = "vmmtest-supervisor"

// Supervise is for TestMain: when the test binary was started to play a
// supervisor, it launches a machine with d, says its process, and waits to be
// killed. Otherwise it does nothing.
func Supervise(d vmm.Driver) {
	if len(os.Args) != 3 || os.Args[1] != role {
		return
	}
	var spec vmm.Spec
	err := json.Unmarshal([]byte(os.Args[2]), &spec)
	if err != nil {
		panic(err)
	}
	m, err := d.Launch(context.Background(), spec)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	json.NewEncoder(os.Stdout).Encode(m.Process())
	<-m.Done()
	os.Exit(2)
}

func (s *suite) supervisorKilled(t *testing.T) { s.superviseAndKill(t, s.spec(t)) }

// superviseAndKill launches spec from a process of its own and kills that: the
// VMM must go with it.
func (s *suite) superviseAndKill(t *testing.T, spec vmm.Spec) {
	t.Helper()
	text, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], role, string(text))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		t.Fatalf("the supervisor said %q, %v", line, err)
	}
	var p vm.Process
	if err := json.Unmarshal(line, &p); err != nil {
		t.Fatal(err)
	}
	h, err := process.Open(p)
	if err != nil {
		t.Fatalf("the VMM %+v is gone before its supervisor: %v", p, err)
	}
	defer h.Close()
	cmd.Process.Kill()
	ctx, cancel := context.WithTimeout(context.Background(), endLimit)
	defer cancel()
	if err := h.Wait(ctx); err != nil {
		h.Kill()
		t.Errorf("the VMM outlived its supervisor: %v", err)
	}
}

func (s *suite) cancelDuringLaunch(t *testing.T) {
	for _, after := range []time.Duration{0, time.Millisecond, 10 * time.Millisecond, 30 * time.Millisecond, 60 * time.Millisecond, 100 * time.Millisecond} {
		spec := s.spec(t)
		before := openFiles(t)
		ctx, cancel := context.WithCancel(context.Background())
		if after == 0 {
			cancel()
		}
		timer := time.AfterFunc(after, cancel)
		m, err := s.New().Launch(ctx, spec)
		if err == nil {
			if after == 0 {
				t.Error("Launch under a cancelled context: no error")
			}
			m.Close()
		} else if ctx.Err() == nil {
			t.Errorf("Launch: %v", err)
		}
		timer.Stop()
		cancel()
		nothingLeft(t, spec, before)
	}
}

// refused launches what can't be launched: an error that names the culprit,
// soon, and nothing left.
func (s *suite) refused(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*vmm.Spec)
		want  string
	}{
		{"no kernel", func(s *vmm.Spec) { s.Kernel = "/nonexistent/vmlinux" }, "/nonexistent/vmlinux"},
		{"kernel is a directory", func(s *vmm.Spec) { s.Kernel = s.Dir }, "vm"},
		{"no initrd", func(s *vmm.Spec) { s.Initrd = "/nonexistent/initrd" }, "/nonexistent/initrd"},
		{"no disk", func(s *vmm.Spec) { s.Disks[0].Path = "/nonexistent/disk" }, "/nonexistent/disk"},
		{"disk is a directory", func(s *vmm.Spec) { s.Disks[1].Path = s.Dir }, "vm"},
		{"too many vCPUs", func(s *vmm.Spec) { s.VCPUs = 9999 }, "9999 vCPUs"},
		{"no vCPUs", func(s *vmm.Spec) { s.VCPUs = 0 }, "0 vCPUs"},
		{"too much memory", func(s *vmm.Spec) { s.MemMiB = 99 << 20 }, "memory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			spec := s.spec(t)
			c.spoil(&spec)
			before := openFiles(t)
			ctx, cancel := context.WithTimeout(context.Background(), endLimit)
			defer cancel()
			m, err := s.New().Launch(ctx, spec)
			if err == nil {
				m.Close()
				t.Fatal("Launch: no error")
			}
			if ctx.Err() != nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Launch: %v; want at once an error with %q", err, c.want)
			}
			t.Logf("%v", err)
			nothingLeft(t, spec, before)
		})
	}
}
