package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
)

// Where things are built, below the tree's root.
const (
	binDir       = "build/smoke/bin"
	scenarioFile = "build/smoke/scenario.test"
	scenarioDir  = "test/smoke/scenario"
)

// build builds the programs with counters (the tag covered brings the agent's
// over its control service), the scenarios' tests and the drivers'. The host's
// machine code runs in the test host as it is: no C library is asked for.
func build(ctx context.Context) error {
	for _, dir := range []string{binDir + "/next", contractDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	commands := [][]string{
		{"build", "-cover", "-covermode=atomic", "-tags=covered", "-coverpkg=./internal/...,./cmd/...", "-o", binDir + "/", "./cmd/banger", "./cmd/bangerd"},
		{"build", "-cover", "-covermode=atomic", "-tags=covered", "-coverpkg=./internal/...,./cmd/...", "-trimpath", "-ldflags=-s -w", "-o", binDir + "/", "./cmd/banger-agent"},
		// The programs of a next version, which speak the next protocol.
		{"build", "-tags=nextprotocol", "-o", binDir + "/next/", "./cmd/banger", "./cmd/bangerd", "./cmd/banger-agent"},
		{"test", "-c", "-tags=smoketest", "-o", scenarioFile, "./" + scenarioDir},
		{"build", "-ldflags=-s -w", "-o", contractDir + "/guest", "./internal/vmm/vmmtest/guest"},
	}
	for _, driver := range drivers {
		commands = append(commands, []string{"test", "-c", "-tags=vmtest", "-o", contractDir + "/" + driver + ".test", "./internal/vmm/" + driver})
	}
	for _, args := range commands {
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go %v: %w\n%s", args, err, out)
		}
	}
	return nil
}
