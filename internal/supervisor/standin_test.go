//go:build standin

package supervisor_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"banger/internal/channel"
	"banger/internal/channel/exec"
	"banger/internal/launch"
	"banger/internal/process"
	"banger/internal/supervisor"
	"banger/internal/unixsock"
	"banger/internal/vm"
	"banger/internal/vmm"
	"banger/internal/vmm/standin"
)

// patience bounds a wait for what comes in milliseconds or a few seconds.
const patience = 30 * time.Second

// The test binary is bangerd, whose only VMM is the stand-in, and a client of
// this build's protocol.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 {
		switch os.Args[1] {
		case "launch":
			launch.Main()
		case standin.Verb:
			standin.Main()
		case "supervise":
			program, err := os.Executable()
			if err == nil {
				err = supervisor.Main(vmm.Drivers{standin.New(standin.Config{Launcher: program})}, os.Args[2])
			}
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(125)
			}
			os.Exit(0)
		case "status", "stop":
			if err := client(os.Args[1], os.Args[2]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	os.Setenv("GORACE", "atexit_sleep_ms=0") // else each process takes a second to end
	os.Exit(m.Run())
}

// client writes the status, or asks for the end, of the VM in dir.
func client(call, dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := supervisor.NewClient(dir)
	if call == "stop" {
		return c.Stop(ctx, supervisor.Stop{})
	}
	s, err := c.Status(ctx)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(s)
}

// guest is a VM under test, run by a supervisor of its own.
type guest struct {
	*supervisor.Client
	dir        string
	supervisor vm.Process
}

// start starts a VM that behaves so, under a supervisor of that program.
func start(t *testing.T, program string, b standin.Behaviour) *guest {
	t.Helper()
	id := vm.NewID()
	dir := filepath.Join(t.TempDir(), string(id))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, size := range map[string]int64{"kernel": 0, "initrd": 0, "disk": 512} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, size)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Save(dir); err != nil {
		t.Fatal(err)
	}
	lock, err := supervisor.TakeLock(dir)
	if err != nil {
		t.Fatal(err)
	}
	p, err := supervisor.Spawn(program, supervisor.Order{
		Spec: vmm.Spec{
			ID: id, Dir: dir, VCPUs: 1, MemMiB: 512,
			Kernel: filepath.Join(dir, "kernel"), Initrd: filepath.Join(dir, "initrd"),
			Found: vmm.Probe{Usable: true, Accel: standin.Accel},
			Disks: []vmm.Disk{{Path: filepath.Join(dir, "disk")}},
		},
		Name: "a", Driver: standin.Name, Op: t.Name(),
	}, lock)
	if err != nil {
		t.Fatal(err)
	}
	g := &guest{supervisor.NewClient(dir), dir, p}
	t.Cleanup(func() {
		if h, err := process.Open(p); err == nil {
			h.Kill()
			h.Wait(limited(t))
			h.Close()
		}
		if log, _ := os.ReadFile(filepath.Join(dir, supervisor.LogFile)); t.Failed() || strings.Contains(string(log), "DATA RACE") {
			t.Errorf("the supervisor's log:\n%s", log)
		}
	})
	return g
}

func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func self(t *testing.T) string {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return program
}

var errSeen = errors.New("seen")

// until follows the run until seen says so, and returns that status.
func (g *guest) until(t *testing.T, what string, seen func(supervisor.Status) bool) supervisor.Status {
	t.Helper()
	var last supervisor.Status
	err := g.Events(limited(t), func(s supervisor.Status) error {
		last = s
		if seen(s) {
			return errSeen
		}
		return nil
	})
	if err != nil && !errors.Is(err, errSeen) {
		// The run may be over before it could be followed, or just now.
		if s, readErr := supervisor.ReadRun(g.dir); readErr == nil && seen(s) {
			return s
		}
	}
	if !errors.Is(err, errSeen) {
		t.Fatalf("wait for %s: %v; the last status is %+v, ending %+v", what, err, last, last.Ending)
	}
	return last
}

func (g *guest) ready(t *testing.T) supervisor.Status {
	t.Helper()
	return g.until(t, "ready", func(s supervisor.Status) bool { return s.Phase == supervisor.Ready })
}

// gone waits for the end of the run and of its supervisor.
func (g *guest) gone(t *testing.T) vm.Ending {
	t.Helper()
	s := g.until(t, "the end", func(s supervisor.Status) bool { return s.Phase == supervisor.Gone })
	if h, err := process.Open(g.supervisor); err == nil {
		defer h.Close()
		if err := h.Wait(limited(t)); err != nil {
			t.Fatalf("wait for the supervisor's end: %v", err)
		}
	}
	if e, err := supervisor.ReadEnding(g.dir); err != nil || e.Cause != s.Ending.Cause || e.Detail != s.Ending.Detail {
		t.Errorf("run.json has %+v, %v; the stream of events %+v", e, err, s.Ending)
	}
	if held, _, err := supervisor.Held(g.dir); held || err != nil {
		t.Errorf("after the end Held = %v, %v", held, err)
	}
	if _, err := os.Stat(supervisor.RunDir(g.dir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after the end the directory of sockets: %v, want none", err)
	}
	return *s.Ending
}

func (g *guest) wants(t *testing.T, e vm.Ending, cause, detail string, forced bool) {
	t.Helper()
	if e.Cause != cause || !strings.Contains(e.Detail, detail) || e.Forced != forced {
		t.Errorf("ending is %s, %q, forced %v; want %s, %q, %v", e.Cause, e.Detail, e.Forced, cause, detail, forced)
	}
}

func (g *guest) behave(t *testing.T, b standin.Behaviour) {
	t.Helper()
	if err := b.Save(g.dir); err != nil {
		t.Fatal(err)
	}
}

// dial opens a stream to a service of the guest, as package session does.
func (g *guest) dial(t *testing.T, port uint32) (net.Conn, *bufio.Reader, *supervisor.Refusal) {
	t.Helper()
	c, err := unixsock.Dial(limited(t), supervisor.SocketPath(g.dir))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(c, "GET /v1/dial?port=%d HTTP/1.1\r\nHost: s\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", port, supervisor.Upgrade)
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return c, r, nil
	}
	var refusal supervisor.Refusal
	json.NewDecoder(resp.Body).Decode(&refusal)
	return nil, nil, &refusal
}

// exec runs a command in the guest.
func (g *guest) exec(t *testing.T, words ...string) (exec.Status, error) {
	t.Helper()
	return g.command(t, words...)()
}

// command starts a command in the guest; wait returns its status.
func (g *guest) command(t *testing.T, words ...string) (wait func() (exec.Status, error)) {
	t.Helper()
	c, r, refusal := g.dial(t, channel.PortExec)
	if refusal != nil {
		t.Fatalf("dial: %v", refusal)
	}
	if err := exec.NewWriter(c).WriteRequest(exec.Request{Argv: exec.Args(words...)}); err != nil {
		t.Fatal(err)
	}
	return func() (exec.Status, error) {
		for in := exec.NewReader(r); ; {
			kind, text, err := in.Next()
			if err != nil {
				return exec.Status{}, err
			}
			if kind == exec.TypeExit {
				return exec.ParseStatus(text)
			}
		}
	}
}

// stopVMM stops the processes of the VMM, its guest's first, and returns them.
func stopVMM(t *testing.T, p *vm.Process) (pids []int) {
	t.Helper()
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", p.PID))
	for _, f := range files {
		text, _ := os.ReadFile(f) // a thread that has ended has none
		for _, word := range strings.Fields(string(text)) {
			var pid int
			fmt.Sscan(word, &pid)
			pids = append(pids, pid)
		}
	}
	pids = append(pids, p.PID)
	for _, pid := range pids {
		syscall.Kill(pid, syscall.SIGSTOP)
		for ctx := limited(t); ; time.Sleep(time.Millisecond) {
			if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err != nil || ctx.Err() != nil {
				t.Fatalf("stop process %d: %v", pid, errors.Join(err, ctx.Err()))
			} else if strings.Contains(string(text), ") T ") {
				break
			}
		}
	}
	return pids
}
