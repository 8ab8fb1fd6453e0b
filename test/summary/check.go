package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// vulnLimit bounds govulncheck, which asks a server.
const vulnLimit = 2 * time.Minute

// skipError is a check that can't be made here, and why.
type skipError string

func (e skipError) Error() string { return string(e) }

// checks is what can be told without running a test. The layout is a test of
// its own, in the root, and belongs to this as well as to the unit tests.
var checks = []struct {
	name string
	run  func() error
}{
	{"format", checkFormat},
	{"go.mod and go.sum", func() error { return command(nil, "go", "mod", "tidy", "-diff") }},
	{"generated files", checkGenerated},
	{"vet", func() error { return command(nil, "go", "vet", "./...") }},
	{"vet of tests with guests", func() error {
		return command(nil, "go", "vet", "-tags=vmtest,smoketest,covered,standin,faults", "./...")
	}},
	{"staticcheck", func() error {
		return command(nil, "go", "tool", "staticcheck", "-tags=vmtest,smoketest,covered,standin,faults", "./...")
	}},
	{"layout", func() error { return command(nil, "go", "test", ".") }},
	{"shellcheck", checkShell},
	{"govulncheck", checkVulnerabilities},
}

func runChecks(c *count) {
	for _, k := range checks {
		begin := time.Now()
		err := k.run()
		var skip skipError
		took := time.Since(begin).Seconds()
		switch {
		case errors.As(err, &skip):
			say("skip %s: %v", k.name, err)
			c.skip(k.name, err.Error())
		case err != nil:
			say("FAIL %s (%.1f s): %v", k.name, took, err)
			c.fail(k.name)
		default:
			say("ok   %s (%.1f s)", k.name, took)
			c.passed++
		}
	}
}

func goFiles() ([]string, error) {
	var files []string
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || path == "build" || path == "bin" || path == "coverage"):
			return fs.SkipDir
		case !d.IsDir() && filepath.Ext(path) == ".go":
			files = append(files, path)
		}
		return nil
	})
	return files, err
}

func checkFormat() error {
	files, err := goFiles()
	if err != nil {
		return err
	}
	out, err := exec.Command("gofmt", append([]string{"-l"}, files...)...).CombinedOutput()
	if err != nil || len(out) > 0 {
		return fmt.Errorf("%w; type: gofmt -w %s", errors.Join(errors.New("not as gofmt has it"), err), bytes.ReplaceAll(bytes.TrimSpace(out), []byte("\n"), []byte(" ")))
	}
	return nil
}

// checkGenerated runs go generate where a file asks for it, and wants no change.
func checkGenerated() error {
	files, err := goFiles()
	if err != nil {
		return err
	}
	directive := []byte("\n//go:" + "generate ")
	before := map[string][]byte{}
	asked := false
	for _, f := range files {
		if before[f], err = os.ReadFile(f); err != nil {
			return err
		}
		asked = asked || bytes.Contains(before[f], directive)
	}
	if !asked {
		return nil
	}
	if err := command(nil, "go", "generate", "./..."); err != nil {
		return err
	}
	for f, text := range before {
		if now, err := os.ReadFile(f); err != nil || !bytes.Equal(now, text) {
			return fmt.Errorf("%s was not up to date, and is now", f)
		}
	}
	return nil
}

func checkShell() error {
	if _, err := exec.LookPath("shellcheck"); err != nil {
		return skipError("shellcheck is not installed")
	}
	return command(nil, "shellcheck", "scripts/setup", ".ci/run")
}

func checkVulnerabilities() error {
	ctx, cancel := context.WithTimeout(context.Background(), vulnLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, "go", "tool", "govulncheck", "./...").CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit) && exit.ExitCode() == 3: // vulnerabilities were found
		return fmt.Errorf("%w\n%s", err, out)
	case ctx.Err() != nil:
		return skipError(fmt.Sprintf("its data did not come in %v", vulnLimit))
	case bytes.Contains(out, []byte("vuln.go.dev")):
		return skipError(fmt.Sprintf("its data can't be reached: %s", bytes.TrimSpace(out)))
	}
	return fmt.Errorf("%w\n%s", err, out)
}
