package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// versionLimit bounds a program's --version.
const versionLimit = 10 * time.Second

func checkQEMU(ctx context.Context, e Env) Result {
	const cost = "no VM can run"
	path, err := e.Look("qemu-system-x86_64")
	if err != nil {
		return Result{Status: Fail, Detail: "qemu-system-x86_64 is not in PATH", Cost: cost, Fix: e.sudo("apt-get install qemu-system-x86")}
	}
	ctx, cancel := context.WithTimeout(ctx, versionLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	line, _, _ := strings.Cut(string(out), "\n")
	if err != nil {
		return Result{Status: Fail, Detail: fmt.Sprintf("%s --version: %v", path, err), Cost: cost, Fix: e.sudo("apt-get install --reinstall qemu-system-x86")}
	}
	return Result{Status: OK, Detail: line}
}

// checkKVM reads what the QEMU driver reads to choose: an open /dev/kvm is no
// proof, as a host whose CPU shows neither vmx nor svm may have one that hangs
// every stock kernel. Nothing of it is a failure: VMs run without.
func checkKVM(_ context.Context, e Env) Result {
	r := Result{Status: Warn, Cost: "VMs are emulated: everything works, about ten times slower"}
	text, _ := os.ReadFile(e.Proc + "/cpuinfo")
	virt := hasFlag(string(text), "vmx") || hasFlag(string(text), "svm")
	f, err := os.OpenFile(e.KVM, os.O_RDWR, 0)
	if err == nil {
		f.Close()
	}
	switch {
	case err == nil && virt:
		return Result{Status: OK, Detail: e.KVM + " opens and the CPU has hardware virtualisation"}
	case err == nil:
		r.Detail = e.KVM + " opens, but the CPU shows neither vmx nor svm: it can't run a stock kernel, and is not used"
	case !virt:
		r.Detail = "this host's CPU shows no hardware virtualisation (neither vmx nor svm)"
	case errors.Is(err, fs.ErrPermission):
		r.Detail = "you have no right to open " + e.KVM
		r.Fix = "sudo usermod -aG kvm $USER, then log in again"
	case errors.Is(err, fs.ErrNotExist):
		r.Detail = "the CPU has hardware virtualisation, but there is no " + e.KVM
		r.Fix = e.sudo("modprobe -a kvm_intel kvm_amd; where that is refused, switch virtualisation on in the firmware")
	default:
		r.Detail = fmt.Sprintf("the CPU has hardware virtualisation, but %s can't be opened: %v", e.KVM, err)
	}
	return r
}

// hasFlag looks for a CPU flag in the text of /proc/cpuinfo.
func hasFlag(cpuinfo, flag string) bool {
	for line := range strings.Lines(cpuinfo) {
		key, value, _ := strings.Cut(line, ":")
		if strings.TrimSpace(key) == "flags" && slices.Contains(strings.Fields(value), flag) {
			return true
		}
	}
	return false
}
