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
// over its control service), and the scenarios' tests. The host's
// machine code runs in the test host as it is: no C library is asked for.
func build(ctx context.Context) error {
	if err := os.MkdirAll(binDir, 0o755); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"build", "-cover", "-covermode=atomic", "-tags=covered", "-coverpkg=./internal/...,./cmd/...", "-o", binDir + "/", "./cmd/banger", "./cmd/bangerd"},
		{"build", "-cover", "-covermode=atomic", "-tags=covered", "-coverpkg=./internal/...,./cmd/...", "-trimpath", "-ldflags=-s -w", "-o", binDir + "/", "./cmd/banger-agent"},
		{"test", "-c", "-tags=smoketest", "-o", scenarioFile, "./" + scenarioDir},
	} {
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go %v: %w\n%s", args, err, out)
		}
	}
	return nil
}
