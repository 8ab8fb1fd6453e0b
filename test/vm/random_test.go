//go:build vmtest

package vm_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"banger/test/harness"
)

var (
	rounds = flag.Int("rounds", 10, "rounds of TestL9")
	seed   = flag.Uint64("seed", 0, "seed of what is chosen; 0 is one of the clock's")
)

// patience bounds each command.
const patience = 2 * time.Minute

// writer is what runs in a guest: it says each number after the disk has it.
const writer = `i=$(tail -n1 /root/log 2>/dev/null || echo 0); while :; do i=$((i+1)); echo $i >>/root/log && sync /root/log && echo $i || exit 9; done`

// TestL9 has real guests write and sync while the daemon, supervisors
// and VMMs are killed and held, and each command gets another environment. What
// was acknowledged is there afterwards, and a run that nobody ended goes on, its
// session too.
func TestL9(t *testing.T) {
	s := *seed
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	t.Logf("go test -args -seed %d", s)
	g := newGuests(t, rand.New(rand.NewPCG(s, 0)))
	g.must("vm", "create", "--memory", "512M", "--name", "keeper")
	g.must("vm", "create", "--memory", "512M", "--name", "victim")
	keeper, victim := g.write("keeper"), g.write("victim")
	boot := g.show("keeper").BootID
	counts, lost := map[string]int{}, 0
	for round := range *rounds {
		victim.await(t, victim.acked.Load()+3)
		what, ended := g.mishap()
		counts[what]++
		if ended {
			<-victim.over
			g.must("vm", "start", "victim")
			lost += g.missing("victim", victim.acked.Load())
			victim = g.write("victim")
		}
		keeper.await(t, keeper.acked.Load()+3)
		if t.Failed() {
			t.Fatalf("in round %d, after: %s", round, what)
		}
	}
	if now := g.show("keeper"); now.State != "running" || now.BootID != boot {
		t.Errorf("a run that nobody ended was ended: it is %+v, its boot id was %s", now, boot)
	}
	lost += g.missing("keeper", keeper.acked.Load())
	if lost > 0 {
		t.Errorf("%d acknowledged records are lost", lost)
	}
	t.Logf("figures: %d rounds with %v; %d records acknowledged to one session, %d lost, 0 runs ended that nobody ended", *rounds, counts, keeper.acked.Load(), lost)
	for _, name := range []string{"keeper", "victim"} {
		g.must("vm", "delete", "-f", "--discard", name)
	}
	<-keeper.over
	<-victim.over
	g.must("daemon", "stop")
	if left := harness.Processes(g.dir); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
}

// guests is a state directory with VMs.
type guests struct {
	t               *testing.T
	r               *rand.Rand
	bin, dir, cache string
}

func newGuests(t *testing.T, r *rand.Rand) *guests {
	bin := os.Getenv("BANGER_TEST_BIN")
	if bin == "" {
		t.Skip("BANGER_TEST_BIN is not set: make test sets it")
	}
	dir, err := os.MkdirTemp("", "guests-*")
	if err != nil {
		t.Fatal(err)
	}
	cache, err := os.UserCacheDir() // images and kernels take minutes to make
	if err != nil {
		t.Fatal(err)
	}
	g := &guests{t: t, r: r, bin: bin, dir: dir, cache: cache}
	t.Cleanup(func() {
		for pid := range harness.Processes(g.dir) {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(100 * time.Millisecond)
		os.RemoveAll(dir)
	})
	for _, d := range []string{"state", "home"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(dir, "state"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	return g
}

// command is a banger command in an environment that finds the state directory,
// whatever the rest of it is.
func (g *guests) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(g.bin, "banger"), args...)
	around := [][]string{
		{"XDG_STATE_HOME=" + g.dir + "/state"},
		{"XDG_STATE_HOME=" + g.dir + "/link"},
		{"XDG_STATE_HOME=" + g.dir + "/link", "HOME=" + g.dir + "/elsewhere"},
		{"XDG_STATE_HOME=" + g.dir + "/state", "XDG_RUNTIME_DIR=/nonexistent"},
		{"XDG_STATE_HOME=" + g.dir + "/state", "XDG_RUNTIME_DIR=", "TMPDIR=/nonexistent"},
	}[g.r.IntN(5)]
	cmd.Env = append(append(os.Environ(), "HOME="+g.dir+"/home", "XDG_CACHE_HOME="+g.cache), around...)
	return cmd
}

// must runs a command that has to succeed.
func (g *guests) must(args ...string) []byte {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := g.command(ctx, args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		g.t.Fatalf("banger %v: %v\n%s", args, err, &errs)
	}
	return out
}

// shown is what vm show says.
type shown struct {
	State      string            `json:"state"`
	BootID     string            `json:"boot_id"`
	VMM        struct{ PID int } `json:"vmm"`
	Supervisor struct{ PID int } `json:"supervisor"`
}

func (g *guests) show(name string) (v shown) {
	g.t.Helper()
	if err := json.Unmarshal(g.must("vm", "show", "--json", name), &v); err != nil {
		g.t.Fatal(err)
	}
	return v
}

// session is a writer in a guest.
type session struct {
	acked atomic.Int64  // the last number that it said
	over  chan struct{} // closed when the session is
}

// write starts a writer. The session ends with its VM, or the test.
func (g *guests) write(name string) *session {
	g.t.Helper()
	cmd := g.command(context.Background(), "vm", "exec", name, "--", "sh", "-c", writer)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		g.t.Fatal(err)
	}
	s := &session{over: make(chan struct{})}
	go func() { // ends with the session
		defer close(s.over)
		lines := bufio.NewReader(out)
		for {
			line, err := lines.ReadString('\n')
			if n, bad := strconv.ParseInt(strings.TrimSpace(line), 10, 64); bad == nil {
				s.acked.Store(n)
			}
			if err != nil {
				break
			}
		}
		io.Copy(io.Discard, out)
		cmd.Wait()
	}()
	return s
}

// await waits until a number was acknowledged.
func (s *session) await(t *testing.T, n int64) {
	t.Helper()
	deadline := time.After(patience)
	for s.acked.Load() < n {
		select {
		case <-s.over:
			t.Fatalf("a session ended after record %d", s.acked.Load())
		case <-deadline:
			t.Fatalf("a session stays at record %d", s.acked.Load())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// missing is how many of the records that were acknowledged a guest lacks.
func (g *guests) missing(name string, acked int64) int {
	g.t.Helper()
	out := g.must("vm", "exec", name, "--", "cat", "/root/log")
	have := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		have[strings.TrimSpace(line)] = true
	}
	lost := 0
	for n := int64(1); n <= acked; n++ {
		if !have[strconv.FormatInt(n, 10)] {
			lost++
		}
	}
	return lost
}

// mishap is one thing that goes wrong, or a verb. It reports whether the victim's
// run is over with it.
func (g *guests) mishap() (what string, ended bool) {
	g.t.Helper()
	v := g.show("victim")
	hold := func(pid int) {
		syscall.Kill(pid, syscall.SIGSTOP)
		time.Sleep(time.Duration(500+g.r.IntN(2000)) * time.Millisecond)
		syscall.Kill(pid, syscall.SIGCONT)
	}
	switch g.r.IntN(8) {
	case 0:
		syscall.Kill(g.daemon(), syscall.SIGKILL)
		return "daemon killed", false
	case 1:
		hold(g.daemon())
		return "daemon held", false
	case 2:
		hold(v.Supervisor.PID)
		return "supervisor held", false
	case 3:
		hold(v.VMM.PID)
		return "VMM held", false
	case 4:
		syscall.Kill(v.Supervisor.PID, syscall.SIGKILL)
		return "supervisor killed", true
	case 5:
		syscall.Kill(v.VMM.PID, syscall.SIGKILL)
		return "VMM killed", true
	case 6:
		g.must("vm", "kill", "victim")
		return "kill", true
	default:
		syscall.Kill(g.daemon(), syscall.SIGKILL)
		g.must("vm", "stop", "victim")
		return "daemon killed, then stop", true
	}
}

// daemon is the daemon's pid.
func (g *guests) daemon() int {
	g.t.Helper()
	var d struct{ PID int }
	if err := json.Unmarshal(g.must("daemon", "status", "--json"), &d); err != nil || d.PID == 0 {
		g.t.Fatalf("the daemon's pid: %d, %v", d.PID, err)
	}
	return d.PID
}
