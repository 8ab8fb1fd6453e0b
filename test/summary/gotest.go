package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	slow     = 5 * time.Second  // a passed test that takes longer gets a line
	silence  = 20 * time.Second // after which the tests under way are named
	maxEvent = 16 << 20         // a line of go test -json, in bytes
)

// event is a line of go test -json (go doc test2json).
type event struct {
	Action, Package, ImportPath, Test, Output string
	Elapsed                                   float64
}

// goTest runs go test with args and adds what became of its tests to c.
func goTest(c *count, env []string, args ...string) {
	tests(c, env, append([]string{"go", "test", "-json"}, args...)...)
}

// tests runs a program that prints what go test -json does, and adds what
// became of its tests to c. Its other lines are progress.
func tests(c *count, env []string, args ...string) {
	what := strings.Replace(strings.Join(args, " "), " -json", "", 1)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stdout
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		say("FAIL %s: %v", args[0], err)
		c.fail(what)
		return
	}
	before := c.failed
	r := newReader(c)
	over := make(chan struct{})
	var telling sync.WaitGroup
	telling.Go(func() { r.tell(over) }) // ends with over
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, maxEvent)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			r.mu.Lock()
			r.line("     %s", lines.Text())
			r.mu.Unlock()
			continue
		}
		r.event(e)
	}
	close(over)
	telling.Wait()
	r.packages()
	if err := errors.Join(lines.Err(), cmd.Wait()); err != nil && c.failed == before {
		say("FAIL %s: %v", what, err)
		c.fail(what)
	}
}

// test is one test, or with an empty name a package.
type test struct{ pkg, name string }

func (t test) String() string {
	return strings.TrimSpace(strings.TrimPrefix(t.pkg, "banger/") + " " + t.name)
}

// reader turns events into counts and lines.
type reader struct {
	c *count

	mu          sync.Mutex
	last        time.Time // when a line was printed
	running     map[test]time.Time
	output      map[test]*strings.Builder
	parents     map[test]bool
	failedBelow map[test]bool   // parents with a subtest that failed
	failedIn    map[string]bool // packages with a test that failed
	badPkgs     []test          // packages that failed
	buildOut    map[string]*strings.Builder
}

func newReader(c *count) *reader {
	return &reader{
		c: c, last: time.Now(), running: map[test]time.Time{}, output: map[test]*strings.Builder{},
		parents: map[test]bool{}, failedBelow: map[test]bool{}, failedIn: map[string]bool{}, buildOut: map[string]*strings.Builder{},
	}
}

func (r *reader) event(e event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := test{e.Package, e.Test}
	switch e.Action {
	case "run":
		r.running[t] = time.Now()
		for i := strings.LastIndexByte(e.Test, '/'); i > 0; i = strings.LastIndexByte(e.Test[:i], '/') {
			r.parents[test{e.Package, e.Test[:i]}] = true
		}
	case "pause": // it waits for others that run at once
		r.running[t] = time.Time{}
	case "cont":
		r.running[t] = time.Now()
	case "build-output":
		if r.buildOut[e.ImportPath] == nil {
			r.buildOut[e.ImportPath] = &strings.Builder{}
		}
		r.buildOut[e.ImportPath].WriteString(e.Output)
	case "build-fail":
		if b := r.buildOut[e.ImportPath]; b != nil {
			r.line("FAIL build %s\n%s", e.ImportPath, b)
		}
	case "output":
		if r.output[t] == nil {
			r.output[t] = &strings.Builder{}
		}
		r.output[t].WriteString(e.Output)
	case "pass", "fail", "skip":
		r.end(t, e)
		delete(r.running, t)
		delete(r.output, t)
	}
}

func (r *reader) line(format string, args ...any) {
	say(format, args...)
	r.last = time.Now()
}

func (r *reader) end(t test, e event) {
	var text string
	if o := r.output[t]; o != nil {
		text = o.String()
	}
	took := time.Duration(e.Elapsed * float64(time.Second))
	switch {
	case e.Action == "fail" && t.name == "":
		// Most often it only says that a test failed.
		r.badPkgs = append(r.badPkgs, t)
		if !r.failedIn[t.pkg] {
			r.line("FAIL %s\n%s", t, text)
		}
	case e.Action == "fail":
		r.line("FAIL %s (%.1f s)\n%s", t, took.Seconds(), text)
		if !r.failedBelow[t] { // else it is a parent that failed by a subtest
			r.fail(t, t.String())
			r.c.explain(t.String(), text)
		}
	case t.name == "":
		if e.Action == "pass" && !strings.Contains(text, "[no test files]") {
			cached := ""
			if strings.Contains(text, "(cached)") {
				cached = ", as before"
			}
			r.line("ok   %s (%.1f s%s)", t, took.Seconds(), cached)
		}
	case r.parents[t]:
	case e.Action == "skip":
		r.c.skip(t.String(), reason(text))
	default:
		r.c.passed++
		if took >= slow {
			r.line("ok   %s (%.1f s)", t, took.Seconds())
		}
	}
}

// fail counts a test and remembers it for its parents and its package.
func (r *reader) fail(t test, name string) {
	r.c.fail(name)
	r.failedIn[t.pkg] = true
	for i := strings.LastIndexByte(t.name, '/'); i > 0; i = strings.LastIndexByte(t.name[:i], '/') {
		r.failedBelow[test{t.pkg, t.name[:i]}] = true
	}
}

// packages is called at the end. It counts tests that began and never ended,
// and packages that failed without a test of theirs: those that can't be built,
// or that ended in a leak.
func (r *reader) packages() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for t := range r.running {
		// Cut by a panic or a time-out: its output says why.
		if o := r.output[t]; o != nil && !r.parents[t] {
			r.line("FAIL %s did not end\n%s", t, o)
			r.fail(t, t.String()+" did not end")
			r.c.explain(t.String()+" did not end", o.String())
		}
	}
	for _, p := range r.badPkgs {
		if !r.failedIn[p.pkg] {
			r.c.fail(p.String())
		}
	}
}

// tell names the tests under way when nothing was printed for a while.
func (r *reader) tell(over <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-over:
			return
		}
		r.mu.Lock()
		if time.Since(r.last) >= silence {
			var names []string
			for t, since := range r.running {
				if !r.parents[t] && !since.IsZero() {
					names = append(names, fmt.Sprintf("%s (%.0f s)", t, time.Since(since).Seconds()))
				}
			}
			slices.Sort(names)
			if len(names) == 0 {
				names = []string{"no test under way: building, or waiting"}
			}
			r.line("…    %s", strings.Join(names, ", "))
		}
		r.mu.Unlock()
	}
}

// Limits of what the closing summary quotes of a failure.
const (
	maxQuoted     = 6
	maxQuotedLine = 300 // bytes
)

// message is a line that a test, or a panic, begins a message with.
var message = regexp.MustCompile(`^\s*(\S+_test\.go:\d+: |panic: |fatal error: |> )|FAIL: `)

// explain remembers the first messages of a failure's output.
func (c *count) explain(name, text string) {
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); message.MatchString(line) && len(lines) < maxQuoted {
			lines = append(lines, line[:min(len(line), maxQuotedLine)])
		}
	}
	if c.why == nil {
		c.why = map[string][]string{}
	}
	c.why[name] = lines
}

// reason is the last line that a skipped test said.
func reason(text string) string {
	last := "it says no reason"
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "---") && !strings.HasPrefix(line, "===") {
			last = line
		}
	}
	return last
}
