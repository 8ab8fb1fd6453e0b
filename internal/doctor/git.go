package doctor

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// The oldest git that has what workspaces need: merge-tree --write-tree.
const (
	gitMajor = 2
	gitMinor = 38
)

// gitLimit bounds the wait for a version.
const gitLimit = 10 * time.Second

// checkApplies looks for repositories in which an apply was cut.
func checkApplies(ctx context.Context, e Env) Result {
	cut, err := e.CutApplies(ctx)
	switch {
	case err != nil:
		return Result{Status: Warn, Detail: "can't be looked for: " + err.Error()}
	case len(cut) == 0:
		return Result{Status: OK, Detail: "none that was cut"}
	}
	return Result{Status: Warn, Detail: "one was cut in " + strings.Join(cut, ", "), Cost: "the work tree may have some of the changes, and not the others", Fix: "banger doctor --fix"}
}

func checkGit(ctx context.Context, e Env) Result {
	const cost = "no repository can go into a VM, and no work can come out; VMs without one work"
	path, err := e.Look("git")
	if err != nil {
		return Result{Status: Warn, Detail: "git is not in PATH", Cost: cost, Fix: e.sudo("apt-get install git")}
	}
	ctx, cancel := context.WithTimeout(ctx, gitLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	var major, minor int
	if err == nil {
		_, err = fmt.Sscanf(string(out), "git version %d.%d", &major, &minor)
	}
	switch {
	case err != nil:
		return Result{Status: Warn, Detail: fmt.Sprintf("ask %s for its version: %v", path, err), Cost: cost, Fix: e.sudo("apt-get install --reinstall git")}
	case major < gitMajor || major == gitMajor && minor < gitMinor:
		return Result{Status: Warn, Detail: fmt.Sprintf("git %d.%d: %d.%d is needed", major, minor, gitMajor, gitMinor), Cost: cost, Fix: "install a newer git"}
	}
	return Result{Status: OK, Detail: fmt.Sprintf("git %d.%d (%s)", major, minor, path)}
}
