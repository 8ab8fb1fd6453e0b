// Package shtest runs scripts for tests: what a user would type in a shell.
package shtest

import (
	"os/exec"
	"testing"
)

// Run runs a script in dir and returns its output. One that fails ends the test.
func Run(t *testing.T, dir, script string) string {
	t.Helper()
	cmd := exec.Command("sh", "-euc", script)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}
