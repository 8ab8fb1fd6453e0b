package doctor

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"sync"
	"time"

	"banger/internal/kvm"
	"banger/internal/vmm"
)

const (
	versionLimit = 10 * time.Second // of a program's --version
	reportLimit  = 40 * time.Second // of `bangerd probe`, which has limits of its own
)

const costNoVM = "no VM can run"

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

// askReport asks bangerd what its drivers find on this host.
func askReport(ctx context.Context, program string) (vmm.Report, error) {
	var r vmm.Report
	return r, askJSON(ctx, reportLimit, &r, program, "probe")
}

// askJSON runs bangerd with a verb that answers in JSON, within limit.
func askJSON(ctx context.Context, limit time.Duration, out any, program string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.WaitDelay = time.Second // for what it left with its output
	text, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) && len(exit.Stderr) > 0 {
			err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(exit.Stderr))
		}
		return fmt.Errorf("ask %s %s: %w", program, args[0], errors.Join(ctx.Err(), err))
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("read the answer of %s %s: %w", program, args[0], err)
	}
	return nil
}

// report is what bangerd's drivers found, asked for once a run of the checks.
func (e Env) report(ctx context.Context) func() (vmm.Report, error) {
	return sync.OnceValues(func() (vmm.Report, error) {
		program, err := e.FindDaemon()
		if err != nil {
			return vmm.Report{}, err // checkPrograms says how to mend it
		}
		return e.Report(ctx, program)
	})
}

// unknown is the outcome of a check for which bangerd could not be asked.
func unknown(err error) Result {
	return Result{Status: Warn, Detail: err.Error(), Cost: "it is not known which VMMs can be used",
		Fix: "make build, or install all of banger's programs together"}
}

// finding is what the driver of that name found.
func finding(r vmm.Report, driver string) vmm.Probe {
	for _, f := range r.Drivers {
		if f.Driver == driver {
			return f.Probe
		}
	}
	return vmm.Probe{Why: "this bangerd has no driver " + driver}
}

func checkQEMU(_ context.Context, e Env) Result {
	r, err := e.vmms()
	if err != nil {
		return unknown(err)
	}
	p := finding(r, "qemu")
	switch {
	case p.Usable:
		return Result{Status: OK, Detail: fmt.Sprintf("QEMU %s, %s", p.Version, p.Path)}
	case p.Path != "":
		return Result{Status: Fail, Detail: p.Why, Cost: costNoVM, Fix: e.sudo("apt-get install --reinstall qemu-system-x86")}
	}
	return Result{Status: Fail, Detail: p.Why, Cost: costNoVM, Fix: e.sudo("apt-get install qemu-system-x86")}
}

func checkFirecracker(_ context.Context, e Env) Result {
	r, err := e.vmms()
	if err != nil {
		return unknown(err)
	}
	p := finding(r, "firecracker")
	switch {
	case p.Usable:
		return Result{Status: OK, Detail: fmt.Sprintf("Firecracker %s, %s", p.Version, p.Path)}
	case p.Version != "" && !kvm.Look(e.KVM, e.Proc).Usable: // checkKVM says how to mend it
		return Result{Status: OK, Detail: fmt.Sprintf("Firecracker %s, which needs KVM", p.Version)}
	}
	return Result{Status: Warn, Detail: p.Why, Cost: "VMs run on QEMU",
		Fix: "put a release into PATH: https://github.com/firecracker-microvm/firecracker/releases"}
}

// judge inserts after the VMMs' checks which one VMs run on by default, and why: the
// drivers' own choice. A missing QEMU is no failure if another VMM is chosen.
func judge(e Env, all []Result) []Result {
	at := map[string]int{}
	for i, r := range all {
		at[r.Check] = i
	}
	qemu := &all[at["qemu"]]
	report, err := e.vmms()
	r := Result{Status: OK}
	switch c := report.Choice; {
	case err != nil:
		r = unknown(err)
	case c == nil:
		r = Result{Status: Fail, Detail: "no VMM can be used: " + report.Error, Cost: costNoVM, Fix: qemu.Fix}
	default:
		how := "with KVM"
		if c.Emulated() {
			how = "which emulates them"
		}
		r.Detail = fmt.Sprintf("VMs run on %s, %s: %s", c.Driver, how, c.Why)
		if qemu.Status == Fail {
			qemu.Status, qemu.Cost = Warn, "no VM can run without KVM or "+c.Driver
		}
	}
	r.Check = "auto"
	return slices.Insert(all, at["firecracker"]+1, r)
}
