package doctor

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"time"
)

// versionLimit bounds a program's --version.
const versionLimit = 10 * time.Second

// firstLine runs a program and returns the first line that it writes.
func firstLine(ctx context.Context, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, versionLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.WaitDelay = time.Second // for what it left with its output
	out, err := cmd.Output()
	if err != nil {
		return "", err
	}
	line, _, err := bufio.NewReader(bytes.NewReader(out)).ReadLine()
	return string(line), err
}

func checkQEMU(ctx context.Context, e Env) Result {
	const cost = "no VM can run"
	path, err := e.Look("qemu-system-x86_64")
	if err != nil {
		return Result{Status: Fail, Detail: "qemu-system-x86_64 is not in PATH", Cost: cost, Fix: e.sudo("apt-get install qemu-system-x86")}
	}
	line, err := firstLine(ctx, path, "--version")
	if err != nil {
		return Result{Status: Fail, Detail: fmt.Sprintf("%s --version: %v", path, err), Cost: cost, Fix: e.sudo("apt-get install --reinstall qemu-system-x86")}
	}
	return Result{Status: OK, Detail: line}
}

// firecrackerVersion is the first line of `firecracker --version`.
var firecrackerVersion = regexp.MustCompile(`^Firecracker v([0-9]+)\.([0-9]+)\.[0-9]+`)

// checkFirecracker: below firecrackerMinor the interface lacks what the driver
// uses.
func checkFirecracker(ctx context.Context, e Env) Result {
	const firecrackerMajor, firecrackerMinor = 1, 10
	r := Result{Status: Warn, Cost: "VMs run on QEMU",
		Fix: "put a release into PATH: https://github.com/firecracker-microvm/firecracker/releases"}
	path, err := e.Look("firecracker")
	if err != nil {
		r.Detail = "firecracker is not in PATH"
		return r
	}
	line, err := firstLine(ctx, path, "--version")
	m := firecrackerVersion.FindStringSubmatch(line)
	switch {
	case err != nil:
		r.Detail = fmt.Sprintf("%s --version: %v", path, err)
		return r
	case m == nil:
		r.Detail = fmt.Sprintf("%s --version answers %.80q, which is not Firecracker's", path, line)
		return r
	}
	major, _ := strconv.Atoi(m[1])
	if minor, _ := strconv.Atoi(m[2]); major < firecrackerMajor || major == firecrackerMajor && minor < firecrackerMinor {
		r.Detail = fmt.Sprintf("%s is too old: banger needs %d.%d", line, firecrackerMajor, firecrackerMinor)
		return r
	}
	return Result{Status: OK, Detail: line}
}
