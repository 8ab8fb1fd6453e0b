package harness

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// command is one of a script's own commands.
type command struct {
	usage string
	// min and max count its arguments; max -1 is any number.
	min, max int
	run      func(s *state, ts *testscript.TestScript, args []string)
}

var commands map[string]func(*testscript.TestScript, bool, []string)

func init() { // within calls the others: a table of its own would be a cycle
	commands = map[string]func(*testscript.TestScript, bool, []string){}
	for name, c := range map[string]command{
		"status":      {"N COMMAND… runs it and wants exactly that exit status; 128+n is death by signal n", 2, -1, status},
		"start":       {"NAME COMMAND… runs it aside: NAME.out, NAME.err are its output, NAME.in, where it is there, its input", 2, -1, start},
		"signal":      {"NAME SIGNAL sends it to what start started", 2, 2, signal},
		"waitfor":     {"NAME N waits for the end of what start started, and wants exactly that exit status, or one of N|N", 2, 2, waitFor},
		"within":      {"DURATION COMMAND… wants one of these commands to be done in that time", 2, -1, within},
		"waitline":    {"FILE REGEXP waits until the file, or the first that a pattern finds, has a match", 2, 2, waitLine},
		"waitstate":   {"VM STATE waits until the VM has that state; vmm is a VM that is starting and has a VMM", 2, 2, waitState},
		"waitgone":    {"VM waits until there is no such VM", 1, 1, waitGone},
		"waitguest":   {"VM PATTERN waits until a process in the guest matches (pgrep -f)", 2, 2, waitGuest},
		"waitnoguest": {"VM PATTERN waits until none does", 2, 2, waitNoGuest},
		"killof":      {"daemon|supervisor|vmm [VM] kills that process with SIGKILL and waits for its end", 1, 2, killOf},
		"json":        {"FILE PATH REGEXP wants the value at .a.b.0 in FILE (stdout is the last output) to match", 3, 3, jsonMatch},
		"jsonenv":     {"VAR FILE PATH sets the variable to the value", 3, 3, jsonEnv},
		"bytes":       {"N FILE writes N bytes that no compression makes smaller", 2, 2, randomBytes},
		"nothing":     {"wants no VM, no directory of one, and no socket of one", 0, 0, nothing},
		"waitnothing": {"waits until there is nothing, where the daemon still clears away what a command gave up", 0, 0, waitNothing},
		"serve":       {"VAR KIND… serves on the host's loopback and sets VAR to the port, see serve", 2, -1, serve},
		"program":     {"FILE PACKAGE builds a program of the tests' that runs in any guest", 2, 2, buildProgram},
		"world":       {"makes a host's network that the script may change, see theWorld; the program in runs a command there", 0, 0, makeWorld},
		"pty":         {"FILE COMMAND… runs it on a pseudo-terminal and does what FILE says, see ptyLine", 2, -1, ptyRun},
	} {
		commands[name] = func(ts *testscript.TestScript, neg bool, args []string) {
			if neg || len(args) < c.min || (c.max >= 0 && len(args) > c.max) {
				ts.Fatalf("usage: %s %s", name, c.usage)
			}
			c.run(stateOf(ts), ts, args)
		}
	}
}

func number(ts *testscript.TestScript, text string) int {
	n, err := strconv.Atoi(text)
	ts.Check(err)
	return n
}

func buildProgram(s *state, ts *testscript.TestScript, args []string) {
	cmd := exec.CommandContext(s.ctx, "go", "build", "-buildvcs=false", "-o", ts.MkAbs(args[0]), args[1])
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		ts.Fatalf("build %s: %v\n%s", args[1], err, out)
	}
}

func status(_ *state, ts *testscript.TestScript, args []string) {
	want := number(ts, args[0])
	err := ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		ts.Fatalf("%v: %v", args[1:], err)
	}
	got := 0
	if exit != nil {
		got = statusOf(exit.ProcessState)
	}
	if got != want {
		ts.Fatalf("%v: exit status %d, want %d", args[1:], got, want)
	}
}

// statusOf is a status as a shell has it.
func statusOf(p *os.ProcessState) int {
	if w, ok := p.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return 128 + int(w.Signal())
	}
	return p.ExitCode()
}

// job is what start started.
type job struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it ended
}

// environ is the script's environment now, of the variables that it began with.
func (s *state) environ(ts *testscript.TestScript) []string {
	var env []string
	seen := map[string]bool{}
	for _, v := range s.vars {
		k, _, _ := strings.Cut(v, "=")
		if !seen[k] {
			seen[k] = true
			env = append(env, k+"="+ts.Getenv(k))
		}
	}
	return env
}

// command prepares a program as testscript would.
func (s *state) command(ts *testscript.TestScript, args []string) *exec.Cmd {
	path := args[0]
	if !strings.Contains(path, "/") {
		for dir := range strings.SplitSeq(ts.Getenv("PATH"), ":") {
			if p := filepath.Join(dir, path); unix.Access(p, unix.X_OK) == nil {
				path = p
				break
			}
		}
	}
	cmd := exec.Command(path, args[1:]...)
	cmd.Args[0] = args[0]
	cmd.Dir, cmd.Env = ts.MkAbs("."), s.environ(ts)
	return cmd
}

func start(s *state, ts *testscript.TestScript, args []string) {
	name := args[0]
	if s.jobs[name] != nil {
		ts.Fatalf("%s was started already", name)
	}
	cmd := s.command(ts, args[1:])
	// A group of its own: a terminal's Ctrl-C to the tests is none to the program.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in := os.DevNull
	if _, err := os.Stat(ts.MkAbs(name + ".in")); err == nil {
		in = ts.MkAbs(name + ".in")
	}
	stdin, err := os.Open(in)
	ts.Check(err)
	defer stdin.Close()
	stdout, err := os.Create(ts.MkAbs(name + ".out"))
	ts.Check(err)
	defer stdout.Close()
	stderr, err := os.Create(ts.MkAbs(name + ".err"))
	ts.Check(err)
	defer stderr.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
	ts.Check(cmd.Start())
	j := &job{cmd, make(chan struct{})}
	s.jobs[name] = j
	go func() { // ends with the program, which endJobs kills and waits for
		cmd.Wait()
		close(j.done)
	}()
}

// endJobs kills what start started and nobody waited for.
func (s *state) endJobs() {
	for name, j := range s.jobs {
		select {
		case <-j.done:
		default:
			s.t.Logf("%s still runs at the script's end: killing it", name)
			j.cmd.Process.Kill()
			<-j.done
		}
	}
}

func (s *state) job(ts *testscript.TestScript, name string) *job {
	j := s.jobs[name]
	if j == nil {
		ts.Fatalf("nothing was started as %s", name)
	}
	return j
}

func signal(s *state, ts *testscript.TestScript, args []string) {
	n := unix.SignalNum(args[1])
	if n == 0 {
		ts.Fatalf("no signal is called %q", args[1])
	}
	ts.Check(s.job(ts, args[0]).cmd.Process.Signal(n))
}

func waitFor(s *state, ts *testscript.TestScript, args []string) {
	j := s.job(ts, args[0])
	select {
	case <-j.done:
	case <-time.After(waitLimit):
		ts.Fatalf("%s did not end in %v", args[0], waitLimit)
	case <-s.ctx.Done():
		ts.Fatalf("%s did not end in the script's time", args[0])
	}
	if got := statusOf(j.cmd.ProcessState); !slices.Contains(strings.Split(args[1], "|"), strconv.Itoa(got)) {
		stderr, _ := os.ReadFile(j.cmd.Stderr.(*os.File).Name())
		ts.Fatalf("%s: exit status %d, want %s; its stderr:\n%s", args[0], got, args[1], stderr)
	}
	delete(s.jobs, args[0])
}

func within(_ *state, ts *testscript.TestScript, args []string) {
	limit, err := time.ParseDuration(args[0])
	ts.Check(err)
	run := commands[args[1]]
	if run == nil {
		ts.Fatalf("within knows no command %q", args[1])
	}
	begin := time.Now()
	run(ts, false, args[2:])
	if took := time.Since(begin); took > limit {
		ts.Fatalf("%v took %v, want at most %v", args[1:], took.Round(time.Millisecond), limit)
	}
}

// until asks again and again, because a file or a state that changes tells
// nobody; every is short beside what is waited for.
func (s *state) until(ts *testscript.TestScript, what string, every time.Duration, done func() bool) {
	limit := time.After(waitLimit)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-limit:
			ts.Fatalf("%s did not come in %v", what, waitLimit)
		case <-s.ctx.Done():
			ts.Fatalf("%s did not come in the script's time", what)
		}
	}
}

func waitLine(s *state, ts *testscript.TestScript, args []string) {
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	var text []byte
	defer func() {
		if s.t.Failed() {
			ts.Logf("%s has:\n%s", args[0], text)
		}
	}()
	s.until(ts, fmt.Sprintf("%q in %s", args[1], args[0]), 10*time.Millisecond, func() bool {
		found, _ := filepath.Glob(ts.MkAbs(args[0]))
		if len(found) == 0 {
			return false
		}
		text, _ = os.ReadFile(found[0])
		return re.Match(text)
	})
}

// shown is what `vm show --json` says that the harness looks at.
type shown struct {
	State      string
	Supervisor *struct{ PID int }
	VMM        *struct{ PID int }
}

func (s *state) show(ts *testscript.TestScript, name string) (v shown, ok bool) {
	cmd := s.command(ts, []string{"banger", "vm", "show", "--json", name})
	out, err := cmd.Output()
	if err != nil {
		return v, false
	}
	ts.Check(json.Unmarshal(out, &v))
	return v, true
}

func waitState(s *state, ts *testscript.TestScript, args []string) {
	var last shown
	s.until(ts, strings.Join(args, " "), 50*time.Millisecond, func() bool {
		v, ok := s.show(ts, args[0])
		if v.State != last.State {
			ts.Logf("[%s is %s]", args[0], v.State)
		}
		last = v
		return ok && (v.State == args[1] || (args[1] == "vmm" && v.State == "starting" && v.VMM != nil && v.VMM.PID != 0))
	})
}

func waitGone(s *state, ts *testscript.TestScript, args []string) {
	s.until(ts, "the end of "+args[0], 50*time.Millisecond, func() bool {
		_, ok := s.show(ts, args[0])
		return !ok
	})
}

func waitGuest(s *state, ts *testscript.TestScript, args []string)   { s.guestHas(ts, args, 0) }
func waitNoGuest(s *state, ts *testscript.TestScript, args []string) { s.guestHas(ts, args, 1) }

// guestHas waits until pgrep in the guest says so: 0 is found, 1 is not.
func (s *state) guestHas(ts *testscript.TestScript, args []string, want int) {
	s.until(ts, fmt.Sprintf("pgrep -f %q in %s giving %d", args[1], args[0], want), 100*time.Millisecond, func() bool {
		cmd := s.command(ts, []string{"banger", "vm", "exec", args[0], "--", "pgrep", "-f", args[1]})
		cmd.Run()
		return cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == want
	})
}

func killOf(s *state, ts *testscript.TestScript, args []string) {
	pid := 0
	switch {
	case args[0] == "daemon":
		for p, line := range Processes(s.work) {
			if strings.Contains(line, "bangerd serve") {
				pid = p
			}
		}
	case len(args) == 2:
		v, _ := s.show(ts, args[1])
		p := v.Supervisor
		if args[0] == "vmm" {
			p = v.VMM
		}
		if p != nil {
			pid = p.PID
		}
	}
	if pid == 0 {
		ts.Fatalf("there is no process that is the %s", strings.Join(args, " of "))
	}
	ts.Check(unix.Kill(pid, unix.SIGKILL))
	ts.Check(waitPID(s.ctx, pid))
}

// valueAt finds .a.b.0 in JSON; texts come without quotes.
func valueAt(ts *testscript.TestScript, file, path string) string {
	var v any
	dec := json.NewDecoder(strings.NewReader(ts.ReadFile(file)))
	dec.UseNumber()
	ts.Check(dec.Decode(&v))
	for key := range strings.SplitSeq(strings.Trim(path, "."), ".") {
		switch at := v.(type) {
		case map[string]any:
			v = at[key]
		case []any:
			i := number(ts, key)
			if i >= len(at) {
				ts.Fatalf("%s: there are %d at %q", path, len(at), key)
			}
			v = at[i]
		default:
			ts.Fatalf("%s: %q is no object", path, key)
		}
	}
	if text, ok := v.(string); ok {
		return text
	}
	text, err := json.Marshal(v)
	ts.Check(err)
	return string(text)
}

func jsonMatch(_ *state, ts *testscript.TestScript, args []string) {
	re, err := regexp.Compile(args[2])
	ts.Check(err)
	if got := valueAt(ts, args[0], args[1]); !re.MatchString(got) {
		ts.Fatalf("%s in %s is %q, want a match of %q", args[1], args[0], got, args[2])
	}
}

func jsonEnv(_ *state, ts *testscript.TestScript, args []string) {
	ts.Setenv(args[0], valueAt(ts, args[1], args[2]))
}

func randomBytes(_ *state, ts *testscript.TestScript, args []string) {
	n := number(ts, args[0])
	var b bytes.Buffer
	b.Grow(n + 8)
	r := rand.New(rand.NewPCG(1, 2)) // the same bytes each time
	for b.Len() < n {
		v := r.Uint64()
		for range 8 {
			b.WriteByte(byte(v))
			v >>= 8
		}
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), b.Bytes()[:n], 0o600))
}

func nothing(s *state, ts *testscript.TestScript, _ []string) { ts.Check(s.nothing(ts)) }

// giveUpLimit is how long the daemon may take to clear away a create.
const giveUpLimit = 15 * time.Second

func waitNothing(s *state, ts *testscript.TestScript, _ []string) {
	begin := time.Now()
	s.until(ts, "nothing", 50*time.Millisecond, func() bool { return s.nothing(ts) == nil || time.Since(begin) > giveUpLimit })
	ts.Check(s.nothing(ts))
}

func (s *state) nothing(ts *testscript.TestScript) error {
	if err := noVM(s.command(ts, []string{"banger", "vm", "list", "-q"})); err != nil {
		return err
	}
	if left, _ := filepath.Glob(filepath.Join(ts.Getenv("XDG_STATE_HOME"), "banger/vms/*")); len(left) > 0 {
		return fmt.Errorf("left behind: %v", left)
	}
	return nil
}
