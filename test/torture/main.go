// Torture runs what takes too long for make test, in parts. A part is slices that
// stand alone: a run that is cut goes on with the first slice that did not pass.
// After thirty minutes a part stops between two slices and says how to go on.
//
//	go run ./test/torture            the parts, and how far each is
//	go run ./test/torture [-anew] PART…
//
// The result of each part stands in docs/torture.md.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// limit bounds one run of one part.
const limit = 30 * time.Minute

// progress is how far a part is: build/torture/PART.json.
type progress struct {
	Slice   int      `json:"slice"` // the next
	Seconds float64  `json:"seconds"`
	Figures []string `json:"figures"`
	Failed  []string `json:"failed"` // the slices that failed
}

func main() {
	anew := flag.Bool("anew", false, "begin with the first slice")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if flag.NArg() == 0 {
		for _, p := range parts {
			fmt.Printf("%-9s slice %d of %d: %s\n", p.name, read(p).Slice, p.slices, p.what)
		}
		return
	}
	status := 0
	for _, name := range flag.Args() {
		p, err := find(name)
		if err == nil {
			if *anew {
				os.Remove(p.file())
			}
			err = run(ctx, p)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "torture:", err)
			status = 1
		}
	}
	os.Exit(status)
}

// run runs the slices of a part that are left, for as long as it may.
func run(ctx context.Context, p part) error {
	begin := time.Now()
	at := read(p)
	if at.Slice >= p.slices {
		at = progress{}
	}
	for at.Slice < p.slices && (time.Since(begin) < limit-p.longest || at.Slice == 0) {
		fmt.Printf("== %s: slice %d of %d\n", p.name, at.Slice+1, p.slices)
		start := time.Now()
		figures, err := slice(ctx, p, at.Slice)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		at.Seconds += time.Since(start).Seconds()
		at.Figures = append(at.Figures, figures...)
		if err != nil {
			at.Failed = append(at.Failed, fmt.Sprintf("slice %d: %v", at.Slice+1, err))
		}
		at.Slice++
		if err := write(p, at); err != nil {
			return err
		}
	}
	if err := report(p, at); err != nil {
		return err
	}
	if len(at.Failed) > 0 {
		return fmt.Errorf("%s: %s", p.name, strings.Join(at.Failed, "; "))
	}
	if at.Slice < p.slices {
		fmt.Printf("%s: %d of %d slices passed; go on with make torture PART=%s\n", p.name, at.Slice, p.slices, p.name)
	} else {
		fmt.Printf("%s: passed, %.0f s\n", p.name, at.Seconds)
	}
	return nil
}

// slice runs one slice and returns the figures that its tests say.
func slice(ctx context.Context, p part, n int) (figures []string, err error) {
	args := append([]string{"test", "-count=1", "-v", "-timeout=60m"}, p.args(n)...)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = time.Minute
	cmd.Env = append(os.Environ(), p.env()...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if _, figure, found := strings.Cut(line, "figures: "); found {
			figures = append(figures, figure)
		}
		if !quiet(line) {
			fmt.Println(line)
		}
	}
	return figures, errors.Join(lines.Err(), cmd.Wait())
}

// quiet reports whether a line says that all goes well.
func quiet(line string) bool {
	line = strings.TrimSpace(line)
	for _, head := range []string{"=== ", "--- PASS", "PASS", "ok "} {
		if strings.HasPrefix(line, head) {
			return true
		}
	}
	return false
}

func (p part) file() string { return filepath.Join("build", "torture", p.name+".json") }

// read returns how far a part is; one that never ran is at its beginning.
func read(p part) (at progress) {
	text, err := os.ReadFile(p.file())
	if err == nil {
		err = json.Unmarshal(text, &at)
	}
	if err != nil {
		return progress{}
	}
	return at
}

func write(p part, at progress) error {
	text, err := json.Marshal(at)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(p.file()), 0o755); err != nil {
		return err
	}
	return os.WriteFile(p.file(), append(text, '\n'), 0o644)
}
