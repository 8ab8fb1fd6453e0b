// Summary runs the tiers one after the other, says what goes on while they run,
// and closes with what passed, failed and was skipped, and why.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// tier is a kind of test, by what it needs.
type tier struct {
	name string
	// runs are argument lists of `go test`.
	runs [][]string
	env  []string
	// before prepares; an error fails the tier.
	before func() error
	// none says why a tier without tests is no failure.
	none string
}

// count is what a tier's tests did. Only leaves count: a test with subtests is
// their sum.
type count struct {
	passed, failed, skipped int
	reasons                 []string
}

func main() {
	only := os.Args[1:] // names of tiers; none are all
	var total count
	var table []string
	begin := time.Now()
	for _, t := range tiers() {
		if len(only) > 0 && !contains(only, t.name) {
			continue
		}
		start := time.Now()
		c := t.run()
		table = append(table, fmt.Sprintf("%-7s %4d passed %3d failed %3d skipped  %4.0f s  %s", t.name, c.passed, c.failed, c.skipped, time.Since(start).Seconds(), t.none))
		for _, r := range c.reasons {
			table = append(table, "        skipped: "+r)
		}
		total.passed += c.passed
		total.failed += c.failed
		total.skipped += c.skipped
	}
	fmt.Printf("\n%s\nall tiers in %.0f s\n%d passed, %d failed, %d skipped\n", strings.Join(table, "\n"), time.Since(begin).Seconds(), total.passed, total.failed, total.skipped)
	if total.failed > 0 || total.passed == 0 {
		os.Exit(1)
	}
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

func tiers() []tier {
	bin, err := filepath.Abs("bin")
	if err != nil {
		panic(err)
	}
	env := []string{"BANGER_TEST_BIN=" + bin}
	return []tier{
		{name: "check", before: func() error { return command(nil, "scripts/check") }, none: "format, vet, staticcheck, layout"},
		{name: "unit", runs: append([][]string{{"-race", "./internal/...", "./cmd/..."}}, fuzzes()...), env: append(env, "CGO_ENABLED=1")},
		{name: "script", runs: [][]string{{"./test/script"}}, env: env},
		{name: "vm", runs: [][]string{{"-tags", "vmtest", "-timeout", "25m", "./test/vm"}, {"-tags", "vmtest", "-timeout", "10m", "-run", "VM|Contract", "./internal/vmm/..."}}, env: env, before: prepareVM},
		{name: "host", none: "no test needs root by now"},
		{name: "smoke", none: "the test host is not built by now"},
	}
}

// fuzzTime is how long each fuzz target runs; there are about fifteen.
const fuzzTime = "2s"

// fuzzes finds all fuzz targets: go test runs one target of one package at a
// time.
func fuzzes() [][]string {
	out, err := exec.Command("go", "test", "-list", "^Fuzz", "./internal/...").Output()
	if err != nil {
		return nil // the unit tests will say why
	}
	var runs [][]string
	var names []string
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		switch {
		case len(f) == 1 && strings.HasPrefix(f[0], "Fuzz"):
			names = append(names, f[0])
		case len(f) >= 2 && f[0] == "ok":
			for _, n := range names {
				runs = append(runs, []string{"-run", "^$", "-fuzz", "^" + n + "$", "-fuzztime", fuzzTime, "-parallel", "2", "./" + strings.TrimPrefix(f[1], "banger/")})
			}
			names = nil
		}
	}
	return runs
}

// prepareVM gets kernel and image into the user's cache, where they stay, and
// tells the tests of the drivers where they are.
func prepareVM() error {
	state, err := os.MkdirTemp("", "banger-test-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(state)
	env := []string{"XDG_STATE_HOME=" + state, "XDG_RUNTIME_DIR=" + state}
	defer command(env, "bin/banger", "daemon", "stop")
	if err := command(env, "bin/banger", "vm", "create", "--no-start", "--quiet", "--name", "prepare"); err != nil {
		return err
	}
	for name, args := range map[string][]string{"BANGER_TEST_BASE": {"image", "list", "--json"}, "kernel": {"kernel", "list", "--json"}} {
		cmd := exec.Command("bin/banger", args...)
		cmd.Env = append(os.Environ(), env...)
		out, err := cmd.Output()
		if err != nil {
			return err
		}
		var list []struct {
			Path    string `json:"path"`
			Default bool   `json:"default"`
		}
		if err := json.Unmarshal(out, &list); err != nil {
			return err
		}
		for _, l := range list {
			if !l.Default {
				continue
			}
			if name != "kernel" {
				os.Setenv(name, l.Path)
				continue
			}
			os.Setenv("BANGER_TEST_KERNEL", filepath.Join(l.Path, "vmlinux"))
			os.Setenv("BANGER_TEST_MODULES", filepath.Join(l.Path, "modules.ext4"))
		}
	}
	return initrd()
}

// initrd packs this build's agent by starting a VM once for a moment: the
// daemon packs it on the way.
func initrd() error {
	dir := filepath.Dir(os.Getenv("BANGER_TEST_KERNEL"))
	newest := ""
	var at time.Time
	files, err := filepath.Glob(filepath.Join(dir, "initrd-*"))
	for _, f := range files {
		if fi, err := os.Stat(f); err == nil && fi.ModTime().After(at) {
			newest, at = f, fi.ModTime()
		}
	}
	os.Setenv("BANGER_TEST_INITRD", newest)
	return err
}

func command(env []string, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}

func (t tier) run() count {
	var c count
	fmt.Printf("== %s\n", t.name)
	if t.before != nil {
		if err := t.before(); err != nil {
			fmt.Printf("FAIL %s: prepare: %v\n", t.name, err)
			c.failed++
			return c
		}
		if len(t.runs) == 0 {
			c.passed++
		}
	}
	for _, args := range t.runs {
		t.one(args, &c)
	}
	if len(t.runs) > 0 && c.passed+c.failed == 0 {
		fmt.Printf("FAIL %s: no test ran\n", t.name)
		c.failed++
	}
	return c
}

// event is a line of `go test -json` (cmd/test2json).
type event struct {
	Action, Package, Test, Output string
	Elapsed                       float64
}

func (t tier) one(args []string, c *count) {
	cmd := exec.Command("go", append([]string{"test", "-json", "-count=1"}, args...)...)
	cmd.Env = append(os.Environ(), t.env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Printf("FAIL %s: %v\n", t.name, err)
		c.failed++
		return
	}
	output := map[string]*strings.Builder{}
	parents := map[string]bool{}
	failedBefore := c.failed
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Println(lines.Text())
			continue
		}
		key := e.Package + "\x00" + e.Test
		if i := strings.LastIndexByte(e.Test, '/'); i >= 0 {
			parents[e.Package+"\x00"+e.Test[:i]] = true
		}
		switch e.Action {
		case "output", "build-output":
			if output[key] == nil {
				output[key] = &strings.Builder{}
			}
			output[key].WriteString(e.Output)
		case "pass", "fail", "skip":
			t.finish(e, output[key], parents[key], c)
			delete(output, key)
		}
	}
	if err := cmd.Wait(); err != nil && c.failed == failedBefore {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			for _, o := range output {
				fmt.Print(o.String())
			}
		}
		fmt.Printf("FAIL %s: go test %s: %v\n", t.name, strings.Join(args, " "), err)
		c.failed++
	}
}

// slow is what a passed test takes to be worth a line, in seconds.
const slow = 2

func (t tier) finish(e event, output *strings.Builder, parent bool, c *count) {
	name := strings.TrimPrefix(e.Package, "banger/") + " " + e.Test
	text := ""
	if output != nil {
		text = output.String()
	}
	switch {
	case e.Action == "fail" && (e.Test != "" || strings.Contains(text, "panic") || strings.Contains(text, "leak")):
		fmt.Printf("FAIL %s (%.1f s)\n%s", name, e.Elapsed, text)
		if !parent {
			c.failed++
		}
	case e.Test == "" || parent:
	case e.Action == "skip":
		c.skipped++
		c.reasons = append(c.reasons, name+": "+reason(text))
	default:
		c.passed++
		if e.Elapsed >= slow {
			fmt.Printf("ok   %s (%.1f s)\n", name, e.Elapsed)
		}
	}
}

// reason is the line that a skipped test said last.
func reason(text string) string {
	var last string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "---") && !strings.HasPrefix(line, "===") {
			last = line
		}
	}
	return last
}
