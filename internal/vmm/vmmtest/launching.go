package vmmtest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/process"
	"banger/internal/vm"
	"banger/internal/vmm"
)

// The verbs under which a test binary plays a supervisor; the second one's
// directories have no space left.
const (
	role      = "vmmtest-supervisor"
	roleSpace = "vmmtest-supervisor-without-space"
)

// Supervise is for TestMain: when the test binary was started to play a
// supervisor, it launches a machine with d, says its process, and waits to be
// killed. Otherwise it does nothing.
func Supervise(d vmm.Driver) {
	if len(os.Args) != 3 || (os.Args[1] != role && os.Args[1] != roleSpace) {
		return
	}
	var spec vmm.Spec
	err := json.Unmarshal([]byte(os.Args[2]), &spec)
	if err != nil {
		panic(err)
	}
	if os.Args[1] == roleSpace {
		// What is mounted from here on is this process's alone.
		err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		if err := errors.Join(err, fill(spec.Dir), fill(spec.RunDir)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	m, err := d.Launch(context.Background(), spec)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	go io.Copy(io.Discard, m.Console()) // ends with the VMM
	if os.Args[1] == roleSpace {
		ctx, cancel := context.WithTimeout(context.Background(), bootLimit)
		if _, err := m.Carrier().Hello(ctx); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		cancel()
	}
	json.NewEncoder(os.Stdout).Encode(m.Process())
	<-m.Done()
	os.Exit(2)
}

// fill makes dir a file system without space.
func fill(dir string) error {
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		return fmt.Errorf("mount a tmpfs at %q: %w", dir, err)
	}
	err := os.WriteFile(filepath.Join(dir, "filler"), make([]byte, 1<<20), 0o600)
	if !errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("fill a tmpfs: %v", err)
	}
	return nil
}

func (s *suite) supervisorKilled(t *testing.T) {
	s.superviseAndKill(t, supervisor(t, role, s.spec(t)))
}

// noSpace launches where neither log nor anything else can be written: the guest
// comes up all the same.
func (s *suite) noSpace(t *testing.T) {
	cmd := supervisor(t, roleSpace, s.spec(t))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	if os.Getuid() != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWNS | unix.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		}
		if out, err := exec.Command("unshare", "--user", "--mount", "true").CombinedOutput(); err != nil {
			t.Skipf("no user namespace can be had here: %v %s", err, out)
		}
	}
	s.superviseAndKill(t, cmd)
}

// supervisor is the test binary, which is to launch spec.
func supervisor(t *testing.T, role string, spec vmm.Spec) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	return exec.Command(os.Args[0], role, string(text))
}

// superviseAndKill has cmd launch a machine and kills it: the VMM must go with
// it.
func (s *suite) superviseAndKill(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
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
