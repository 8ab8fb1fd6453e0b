//go:build vmtest

package vm_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"banger/test/harness"
)

var kills = flag.Int("kills", 3, "rounds of TestKills")

// TestKills kills the CLI, the daemon, the supervisor or the VMM at a random moment
// of a copy, a command, a save, a run with --rm or an apply. Then the system is
// brought back with the commands that the manual names, and each edit that a guest
// acknowledged must be, whole, in the VM's disk, in a saved work or in the user's
// tree.
func TestKills(t *testing.T) {
	s := *seed
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	t.Logf("go test -args -kills %d -seed %d", *kills, s)
	k := newKilled(t, rand.New(rand.NewPCG(s, 1)))
	var turns []turn
	for _, during := range duringAll {
		for _, victim := range victims {
			turns = append(turns, turn{during, victim})
		}
	}
	counts := map[string]int{}
	for n := range *kills {
		if n%len(turns) == 0 {
			k.r.Shuffle(len(turns), func(a, b int) { turns[a], turns[b] = turns[b], turns[a] })
		}
		turn := turns[n%len(turns)]
		begin := time.Now()
		what := k.round(turn)
		counts[turn.during]++
		t.Logf("round %d: %s (%.0f s)", n+1, what, time.Since(begin).Seconds())
		if t.Failed() {
			t.Fatalf("in round %d: %s\nwhat was done:\n%s", n+1, what, strings.Join(k.log, "\n"))
		}
	}
	k.must("vm", "delete", "-f", "dev")
	k.settle()
	k.verify()
	t.Logf("figures: %d kills during %v; %d edits acknowledged, 0 lost", *kills, counts, k.last)
	k.must("daemon", "stop")
	if left := harness.Processes(k.dir); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
}

// turn is whom a round kills, and what they are killed in.
type turn struct{ during, victim string }

var (
	duringAll = []string{"prepare", "command", "save", "rm", "apply"}
	victims   = []string{"CLI", "daemon", "supervisor", "VMM"}
)

// killed is a state directory with the VM dev, whose workspace is of repo.
type killed struct {
	*guests
	repo  string
	env   []string // of git
	log   []string
	last  int                      // the number of the last edit that was begun
	edits map[int]bool             // those that were acknowledged and not dropped
	lasts map[string]time.Duration // what a phase takes if nobody is killed
	trees map[string]map[string]bool
}

func newKilled(t *testing.T, r *rand.Rand) *killed {
	k := &killed{guests: newGuests(t, r), edits: map[int]bool{}, trees: map[string]map[string]bool{}, lasts: map[string]time.Duration{
		"prepare": 3 * time.Second, "command": 4 * time.Second, "save": 3 * time.Second, "rm": 3 * time.Second, "apply": 3 * time.Second,
	}}
	k.repo = filepath.Join(k.dir, "repo")
	k.git(k.dir, "init", "-q", k.repo)
	for n := range 40 {
		if err := os.WriteFile(filepath.Join(k.repo, fmt.Sprintf("f%d", n)), fmt.Appendf(nil, "%d\n", n), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	k.git(k.repo, "add", ".")
	k.git(k.repo, "-c", "user.name=u", "-c", "user.email=u@example.org", "commit", "-qm", "one")
	k.must("vm", "create", "--memory", "512M", "--name", "dev")
	k.must("vm", "workspace", "prepare", "dev", k.repo)
	return k
}

// git runs the user's git.
func (k *killed) git(dir string, args ...string) string {
	k.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "HOME="+k.dir+"/home", "GIT_CONFIG_NOSYSTEM=1"), k.env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		k.t.Fatalf("git %q: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// must runs a command that has to succeed, and notes it.
func (k *killed) must(args ...string) []byte {
	k.t.Helper()
	out, err := k.try(args...)
	if err != nil {
		k.t.Fatalf("%v\nwhat was done:\n%s", err, strings.Join(k.log, "\n"))
	}
	return out
}

// try runs a command, and notes it.
func (k *killed) try(args ...string) ([]byte, error) {
	k.log = append(k.log, "banger "+strings.Join(args, " "))
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := k.command(ctx, args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("banger %v: %w\n%s", args, err, &errs)
		k.log = append(k.log, err.Error())
	}
	return out, err
}

// round kills once, and brings all back.
func (k *killed) round(turn turn) (what string) {
	before := k.treeOf()
	switch turn.during {
	case "command":
		what = k.during(turn, "dev", "vm", "exec", "dev", "--", "sh", "-c", k.editing(8))
	case "rm":
		what = k.duringRm(turn)
	default:
		k.hear(k.must("vm", "exec", "dev", "--", "sh", "-c", k.editing(1)))
		what = k.during(turn, "dev", map[string][]string{
			"prepare": {"vm", "workspace", "prepare", "dev", k.repo, "--force", "--include-untracked"},
			"save":    {"vm", []string{"stop", "restart"}[k.r.IntN(2)], "dev"},
			"apply":   {"apply", "--yes", "dev"},
		}[turn.during]...)
	}
	k.settle()
	if turn.during == "apply" {
		k.isWhole(before)
	}
	k.verify()
	if turn.during == "prepare" { // as the user would do it again
		k.must("vm", "workspace", "prepare", "dev", k.repo, "--force", "--include-untracked")
		k.save()
		k.verify()
	}
	k.must("daemon", "stop") // a new one sweeps
	k.leftovers()
	return what
}

// during runs a command, kills the victim at a random moment of it, and waits for its
// end.
func (k *killed) during(turn turn, name string, args ...string) string {
	k.t.Helper()
	v, daemon := k.show(name), k.daemon()
	cmd := k.command(context.Background(), args...)
	k.log = append(k.log, "banger "+strings.Join(args, " "))
	out, err := cmd.StdoutPipe()
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		k.t.Fatal(err)
	}
	over := make(chan []byte, 1)
	begin := time.Now()
	go func() { // ends with the command
		text, _ := io.ReadAll(out)
		cmd.Wait()
		over <- text
	}()
	wait := time.Duration(k.r.Int64N(int64(k.lasts[turn.during])))
	if turn.during == "apply" && k.r.IntN(2) == 0 {
		// Its writing is short: from its journal on.
		wait = time.Duration(k.r.Int64N(int64(30 * time.Millisecond)))
		for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
			_, err := os.Lstat(filepath.Join(k.repo, ".git", "banger-apply", "journal.json"))
			if err == nil || len(over) > 0 || time.Now().After(deadline) {
				break
			}
		}
	}
	time.Sleep(wait)
	at := time.Since(begin)
	select {
	case text := <-over:
		over <- text
		k.lasts[turn.during] = max(at/2, 100*time.Millisecond) // it was faster than was thought
	default:
	}
	what := fmt.Sprintf("%s killed after %v of %v", turn.victim, at.Round(time.Millisecond), args[:min(len(args), 3)])
	k.kill(turn.victim, cmd.Process, daemon, v)
	k.log = append(k.log, what)
	select {
	case text := <-over:
		k.hear(text)
		k.log = append(k.log, fmt.Sprintf("it said %q", errs.String()))
	case <-time.After(patience):
		cmd.Process.Kill()
		k.t.Errorf("%s: the command goes on", what)
	}
	return what
}

// duringRm has a VM of its own that goes with its command.
func (k *killed) duringRm(turn turn) string {
	k.t.Helper()
	k.vms() // there is a daemon now
	name := fmt.Sprintf("rm%d", k.last)
	cmd := k.command(context.Background(), "vm", "run", "--rm", "--memory", "512M", "--name", name, k.repo, "--", "sh", "-c", k.editing(1))
	k.log = append(k.log, "banger "+strings.Join(cmd.Args[1:], " "))
	out, err := cmd.StdoutPipe()
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		k.t.Fatal(err)
	}
	acked, over := make(chan bool, 1), make(chan bool)
	go func() { // ends with the command
		defer close(over)
		line, _ := bufio.NewReader(out).ReadString('\n')
		k.hear([]byte(line))
		acked <- line != ""
		cmd.Wait()
	}()
	if !<-acked {
		<-over
		k.t.Errorf("a run with --rm ended before its edit: %s", &errs)
		return "none killed"
	}
	var v shown
	for _, row := range k.vms() {
		if row.Name == name {
			v = k.show(row.Name)
		}
	}
	wait := time.Duration(k.r.Int64N(int64(k.lasts["rm"])))
	time.Sleep(wait)
	what := fmt.Sprintf("%s killed %v after the edit of a run with --rm", turn.victim, wait.Round(time.Millisecond))
	k.kill(turn.victim, cmd.Process, k.daemon(), v)
	k.log = append(k.log, what)
	select {
	case <-over:
		k.log = append(k.log, fmt.Sprintf("it said %q", errs.String()))
	case <-time.After(patience):
		cmd.Process.Kill()
		k.t.Errorf("%s: the command goes on", what)
	}
	return what
}

func (k *killed) kill(victim string, cli *os.Process, daemon int, v shown) {
	pid := map[string]int{"CLI": cli.Pid, "daemon": daemon, "supervisor": v.Supervisor.PID, "VMM": v.VMM.PID}[victim]
	if victim == "CLI" {
		cli.Kill() // it may be reaped
	} else if pid > 0 {
		syscall.Kill(pid, syscall.SIGKILL)
	}
}

// vms are all VMs.
func (k *killed) vms() (list []struct{ Name, State string }) {
	k.t.Helper()
	if err := json.Unmarshal(k.guests.must("vm", "list", "--json"), &list); err != nil {
		k.t.Fatal(err)
	}
	return list
}

// settle brings all back: dev runs if it is there, no other VM is, and what was in
// them is saved.
func (k *killed) settle() {
	k.t.Helper()
	for deadline := time.Now().Add(patience); !k.isSettled(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			k.t.Fatalf("after %v there are %v\nwhat was done:\n%s", patience, k.vms(), strings.Join(k.log, "\n"))
		}
	}
	var trash []struct {
		Name     string `json:"name"`
		NotSaved string `json:"not_saved"`
	}
	if err := json.Unmarshal(k.must("trash", "list", "--json"), &trash); err != nil {
		k.t.Fatal(err)
	}
	for _, e := range trash {
		if e.NotSaved == "" {
			continue
		}
		k.must("trash", "restore", e.Name)
		k.must("vm", "start", e.Name)
		k.must("vm", "workspace", "export", e.Name)
		k.must("vm", "delete", "-f", e.Name)
	}
	k.must("trash", "empty")
}

// isSettled starts dev if it has stopped, and saves its work. A daemon may not have seen
// yet that a VM has ended.
func (k *killed) isSettled() bool {
	k.t.Helper()
	list := k.vms()
	for _, v := range list {
		switch {
		case v.Name != "dev" || v.State != "running" && v.State != "stopped":
			return false
		case v.State == "stopped":
			k.must("vm", "start", "dev")
			return false
		}
	}
	if len(list) == 0 {
		return true
	}
	_, err := k.try("vm", "workspace", "export", "dev")
	return err == nil && slices.Equal(k.vms(), list) // else it ended meanwhile
}

// save brings out the work of dev.
func (k *killed) save() {
	k.t.Helper()
	k.must("vm", "workspace", "export", "dev")
}

// leftovers looks for what no command is to leave behind.
func (k *killed) leftovers() {
	k.t.Helper()
	k.vms() // a daemon sweeps as it starts
	if out := k.must("vm", "exec", "dev", "--", "sh", "-c", "cd /root; ls -d .repo.banger-* repo/.git/banger-report-* 2>/dev/null || true"); len(out) > 0 {
		k.t.Errorf("in the guest there is %s", out)
	}
	state := filepath.Join(k.dir, "state", "banger")
	for _, pattern := range []string{k.repo + "/.git/banger-apply", k.repo + "/.banger-*", k.repo + "/*/.banger-*", k.repo + "/*/*/.banger-*",
		k.repo + "/.git/*.lock", k.repo + "/.git/refs/banger/*.lock", filepath.Join(state, "work", ".*"), filepath.Join(state, "work", "*", "incoming-*"), filepath.Join(state, "work", "*", "git", "*.lock"), state + "/trash/.*"} {
		left, _ := filepath.Glob(pattern)
		for _, path := range left {
			if filepath.Base(path) != "banger-apply.lock" { // the file of a lock that is let go
				k.t.Errorf("%s is left", path)
			}
		}
	}
	var extra map[int]string
	for range 50 {
		extra = harness.Processes(k.dir)
		for pid, args := range extra {
			if program := filepath.Base(strings.Fields(args + " ?")[0]); program == "bangerd" || strings.HasPrefix(program, "qemu") {
				delete(extra, pid)
			}
		}
		if len(extra) == 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	k.t.Errorf("processes are left: %v", extra)
}
