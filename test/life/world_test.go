//go:build standin

// Package life holds the daemon, its supervisors and stand-in VMMs to what must
// be true whatever goes wrong: nothing that runs is ended, no disk is lost, and
// nothing is left behind. Real programs run as real processes; only the VMM has
// no kernel.
package life

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"banger/internal/api"
	"banger/internal/vm"
)

// generous bounds each wait for something that must come.
var generous time.Duration

// programs are built once, with stand-ins and points of fault; nextPrograms speak
// the next version of the supervisor's protocol.
var (
	programs     = sync.OnceValues(func() (string, error) { return buildPrograms("standin,faults") })
	nextPrograms = sync.OnceValues(func() (string, error) { return buildPrograms("standin,faults,nextprotocol") })
)

// built are the directories of programs, for removal.
var built []string

func buildPrograms(tags string) (string, error) {
	dir, err := os.MkdirTemp("", "life-bin-*")
	if err != nil {
		return "", err
	}
	built = append(built, dir)
	args := []string{"build", "-tags", tags, "-o", dir + "/"}
	if raceEnabled {
		args = append(args, "-race")
	}
	for _, p := range []string{"banger/cmd/bangerd", "banger/cmd/banger"} {
		if out, err := exec.Command("go", append(args, p)...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("build: %v\n%s", err, out)
		}
	}
	// The stand-in boots nothing: any file will do for the agent.
	return dir, os.WriteFile(filepath.Join(dir, "banger-agent"), nil, 0o755)
}

func TestMain(m *testing.M) {
	flag.Parse()
	generous = *patience
	if !slices.ContainsFunc(os.Args, func(a string) bool { return strings.Contains(a, "rapid.checks") }) {
		flag.Set("rapid.checks", "500") // by each of four workers
	}
	code := m.Run()
	for _, dir := range built {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// world is a state directory with a daemon.
type world struct {
	t      testing.TB
	bin    string
	dir    string // everything lies below it
	env    []string
	daemon *exec.Cmd
	ended  chan struct{} // closed when daemon is reaped
	client *api.Client
	// readyLimit bounds the daemon's start; 0 is generous.
	readyLimit time.Duration
}

func newWorld(t testing.TB) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "life-*")
	if err != nil {
		t.Fatal(err)
	}
	return newWorldIn(t, dir)
}

// newWorldIn makes a world in dir, which is removed at the test's end.
func newWorldIn(t testing.TB, dir string) *world {
	t.Helper()
	bin, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, bin: bin, dir: dir}
	w.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "XDG_STATE_HOME=" + dir + "/s", "XDG_CACHE_HOME=" + dir + "/c", "GORACE=log_path=" + dir + "/race", "BANGER_TEST_STACKS=" + dir + "/stacks"}
	w.client = api.NewClient(filepath.Join(w.state(), "bangerd.sock"))
	t.Cleanup(w.clear)
	return w
}

func (w *world) state() string { return filepath.Join(w.dir, "s", "banger") }

func (w *world) vmDir(id vm.ID) string { return filepath.Join(w.state(), "vms", string(id)) }

// clear ends all processes of the world and looks for what they should not have
// left.
func (w *world) clear() {
	if w.t.Failed() {
		if w.ended != nil {
			w.t.Log(w.whereabouts())
		}
		for pid, line := range w.processes() { // where supervisors are goes into their logs
			if strings.Contains(line, " supervise ") {
				syscall.Kill(pid, syscall.SIGQUIT)
			}
		}
		time.Sleep(time.Second)
		if text := tail(filepath.Join(w.dir, "stderr")); len(text) > 0 {
			w.t.Logf("daemons wrote to stderr:\n%s", text)
		}
		w.t.Logf("the daemon's log:\n%s", tail(filepath.Join(w.state(), "bangerd.log")))
		logs := glob(filepath.Join(w.state(), "vms", "*", "supervisor.log"))
		for _, log := range logs[:min(len(logs), 5)] {
			w.t.Logf("%s:\n%s", log, tail(log))
		}
	}
	for range 100 {
		pids := w.processes()
		if len(pids) == 0 {
			break
		}
		for pid := range pids {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if w.ended != nil {
		<-w.ended
	}
	for _, race := range glob(filepath.Join(w.dir, "race*")) {
		w.t.Errorf("data race:\n%s", tail(race))
	}
	os.RemoveAll(w.dir)
}

func tail(path string) []byte {
	text, _ := os.ReadFile(path)
	return text[max(0, len(text)-16000):]
}

func glob(pattern string) []string {
	out, _ := filepath.Glob(pattern)
	return out
}

// processes are all that have the world's directory in their command line or
// environment, by pid.
func (w *world) processes() map[int]string {
	out := map[int]string{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		cmdline, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		environ, _ := os.ReadFile("/proc/" + e.Name() + "/environ")
		if len(cmdline) > 0 && (bytes.Contains(cmdline, []byte(w.dir)) || bytes.Contains(environ, []byte(w.dir))) {
			out[pid] = string(bytes.ReplaceAll(bytes.TrimRight(cmdline, "\x00"), []byte{0}, []byte{' '}))
		}
	}
	return out
}

// start starts the daemon with more environment and waits until it is ready or
// has ended, which is an error.
func (w *world) start(env ...string) error {
	w.t.Helper()
	r, wr, err := os.Pipe()
	if err != nil {
		w.t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command(filepath.Join(w.bin, "bangerd"), "serve", "--ready-fd", "3")
	cmd.Env = append(append([]string{}, w.env...), env...)
	cmd.ExtraFiles = []*os.File{wr}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Dir = "/"
	// A panic goes there.
	stderr, err := os.OpenFile(filepath.Join(w.dir, "stderr"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		w.t.Fatal(err)
	}
	defer stderr.Close()
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	wr.Close()
	ended := make(chan struct{})
	go func() { // ends with the daemon
		cmd.Wait()
		close(ended)
	}()
	w.daemon, w.ended = cmd, ended
	r.SetReadDeadline(time.Now().Add(cmp.Or(w.readyLimit, generous)))
	line, err := bufio.NewReader(r).ReadString('\n')
	if strings.TrimSpace(line) == "ready" {
		return nil
	}
	return fmt.Errorf("the daemon did not start: %q, %v", line, err)
}

func (w *world) mustStart(env ...string) {
	w.t.Helper()
	if err := w.start(env...); err != nil {
		w.t.Fatal(err)
	}
}

// kill9 ends the daemon as a crash does.
func (w *world) kill9() {
	w.daemon.Process.Kill()
	<-w.ended
	w.client = api.NewClient(filepath.Join(w.state(), "bangerd.sock"))
}

// stop ends the daemon well.
func (w *world) stop() {
	w.t.Helper()
	w.daemon.Process.Signal(syscall.SIGTERM)
	select {
	case <-w.ended:
	case <-time.After(generous):
		w.t.Fatal("the daemon does not end")
	}
	w.client = api.NewClient(filepath.Join(w.state(), "bangerd.sock"))
}

// ctx bounds a call that must be answered.
func (w *world) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), generous)
	context.AfterFunc(ctx, cancel) // with its time
	return ctx
}

// small is a machine that many of fit any host.
func small() api.Spec { return api.Spec{Driver: "standin", MemMiB: 128, VCPUs: 1, DiskMiB: 64} }

// create makes a VM and, with run, starts it.
func (w *world) create(name string, run bool) api.VM {
	w.t.Helper()
	v, err := w.client.CreateVM(w.ctx(), api.Create{Name: name, Spec: small(), Start: run, Force: true}, nil)
	if err != nil {
		w.t.Fatalf("create %q: %v", name, err)
	}
	return v
}

// behave tells the stand-ins of all VMs, or of one, how to behave; "" is well.
func (w *world) behave(id vm.ID, json string) {
	w.t.Helper()
	path := filepath.Join(w.state(), "vms", string(id), "standin.json")
	if json == "" {
		os.Remove(path)
		return
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", []byte(json), 0o600); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		w.t.Fatal(err)
	}
}

// show returns a VM, or nil if there is none.
func (w *world) show(ref string) *api.VM {
	w.t.Helper()
	list, err := w.client.ListVMs(w.ctx())
	if err != nil {
		w.t.Fatalf("list: %v", err)
	}
	for _, v := range list {
		if v.Name == ref || string(v.ID) == ref {
			return &v
		}
	}
	return nil
}

// eventually waits until f returns "", and fails with what it said last.
func (w *world) eventually(f func() string) {
	w.t.Helper()
	deadline := time.Now().Add(generous)
	for {
		what := f()
		if what == "" {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("after %v: %s", generous, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// waitState waits until a VM has the state; "gone" is none.
func (w *world) waitState(ref string, state vm.State) {
	w.t.Helper()
	w.eventually(func() string {
		v := w.show(ref)
		if v == nil && state == "gone" || v != nil && v.State == state {
			return ""
		}
		return fmt.Sprintf("%s is %+v, want %s", ref, v, state)
	})
}

// command is a banger command of the world.
func (w *world) command(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(w.bin, "banger"), args...)
	cmd.Env = w.env
	return cmd
}
