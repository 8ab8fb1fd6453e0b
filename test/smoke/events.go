package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"
)

// event is a line of go test -json (go doc test2json).
type event struct {
	Action, Package string
	Test            string  `json:",omitempty"`
	Output          string  `json:",omitempty"`
	Elapsed         float64 `json:",omitempty"`
}

// output is stdout, a line at a time.
var output struct {
	sync.Mutex
	failed bool   // an event said so
	ended  []test // that passed, failed or were skipped, but the one of them all
}

// test is one of a package.
type test struct{ pkg, name string }

// ended are the tests that need not run again.
func ended() []test {
	output.Lock()
	defer output.Unlock()
	return slices.Clone(output.ended)
}

func emit(e event) {
	text, err := json.Marshal(e)
	if err != nil {
		panic(err) // it holds texts and numbers
	}
	write(append(text, '\n'), e, true)
}

// write writes a line, which is e where that has an action; final says that a test
// that ends there has ended for good.
func write(line []byte, e event, final bool) {
	output.Lock()
	defer output.Unlock()
	os.Stdout.Write(line)
	output.failed = output.failed || e.Action == "fail"
	switch e.Action {
	case "pass", "fail", "skip":
		if final && (strings.Contains(e.Test, "/") || e.Test == "doctor") {
			output.ended = append(output.ended, test{e.Package, e.Test})
		}
	}
}

func say(format string, args ...any) { write(fmt.Appendf(nil, format+"\n", args...), event{}, false) }

// packageName is what scenarios are counted under.
const packageName = "banger/test/smoke"

// check runs a step of the run itself as a test of that name.
func check(name string, step func() (string, error)) error {
	e := event{Package: packageName, Test: name}
	begin := time.Now()
	e.Action = "run"
	emit(e)
	out, err := step()
	if err != nil {
		out += "\n" + err.Error()
	}
	e.Action, e.Output = "output", out+"\n"
	emit(e)
	e.Action, e.Output, e.Elapsed = "pass", "", time.Since(begin).Seconds()
	if err != nil {
		e.Action = "fail"
	}
	emit(e)
	return err
}

// convert turns what a test binary prints into events, see write for final. Write
// to in, close it, then call wait.
func convert(pkg string, final bool) (in io.WriteCloser, wait func() error, err error) {
	cmd := exec.Command("go", "tool", "test2json", "-t", "-p", pkg)
	cmd.Stderr = os.Stderr
	in, err = cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, nil, err
	}
	over := make(chan error, 1)
	go func() { // ends with test2json, which ends with its input
		r := bufio.NewReader(out)
		for {
			line, err := r.ReadBytes('\n')
			if len(line) > 0 {
				var e event
				if json.Unmarshal(line, &e) != nil {
					e = event{}
				}
				write(line, e, final)
			}
			if err != nil {
				break
			}
		}
		over <- cmd.Wait()
	}()
	return in, func() error { return <-over }, nil
}
