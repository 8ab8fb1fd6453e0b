// Bench measures what banger promises of its speed and size, against a floor
// measured in the same run, and writes the table of docs/benchmarks.md.
//
//	make bench
//
// Every figure is a median. It wants a quiet machine: other guests or builds
// make everything slower, the floor too, but not evenly.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

// page is where the table is kept; words of people below its end are left.
const page = "docs/benchmarks.md"

// b is one run of the benchmark.
type b struct {
	bin   string   // where the programs are
	dir   string   // state and sockets of this run's daemon
	env   []string // of banger
	runs  int      // of each boot; short things are measured more often
	only  string   // the one step that is measured, and written nowhere; "" is all
	vm    shown    // the VM that exec is measured in
	model model
	rows  []row
}

func main() {
	runs := flag.Int("runs", 7, "how often each boot is measured")
	out := flag.String("o", page, "file to write the table to")
	bin := flag.String("bin", "bin", "directory of the programs")
	host := flag.Bool("host", false, "measure on real KVM, each VMM of the test host, and write the table to stdout")
	only := flag.String("only", "", "measure this step alone, by its name, and write no table")
	flag.Parse()
	x := &b{bin: *bin, runs: *runs, only: *only}
	var err error
	if *host {
		err = x.run(func() error { return x.measureHost(os.Stdout) })
	} else {
		err = x.run(func() error { return x.measure(*out) })
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run does what is to be measured, with a daemon of its own.
func (x *b) run(do func() error) (err error) {
	if x.dir, err = os.MkdirTemp("", "banger-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(x.dir)
	x.env = append(os.Environ(), "XDG_STATE_HOME="+filepath.Join(x.dir, "state"), "XDG_RUNTIME_DIR="+x.dir)
	defer func() {
		x.banger("vm", "delete", "-f", "-q", vmName)
		_, stopErr := x.banger("daemon", "stop")
		err = errors.Join(err, stopErr)
	}()
	return do()
}

// step is something to measure, and its name.
type step struct {
	name string
	do   func() error
}

func doSteps(steps ...step) error {
	for _, s := range steps {
		begin := time.Now()
		if err := s.do(); err != nil {
			return fmt.Errorf("measure %s: %w", s.name, err)
		}
		fmt.Fprintf(os.Stderr, "bench: %s (%.0f s)\n", s.name, time.Since(begin).Seconds())
	}
	return nil
}

// measure is make bench.
func (x *b) measure(out string) error {
	steps := []step{
		{"a VM to measure", func() error { return x.create("auto") }},
		{"small things", x.small},
		{"exec", x.exec},
		{"floor and whole run", func() error { return x.boots(1.25) }},
		{"bytes", x.raw},
		{"network", x.network},
		{"gvisor-tap-vsock", x.peer},
		{"root", x.root},
		{"workspaces", x.workspaces},
		{"many VMs", x.many},
	}
	if x.only != "" {
		return doSteps(slices.DeleteFunc(steps, func(s step) bool { return s.name != x.only && s.name != steps[0].name })...)
	}
	if err := doSteps(steps...); err != nil {
		return err
	}
	return x.write(out)
}

const (
	vmName    = "bench"
	freshFile = "fresh.ext4" // the VM's disk before its first start
)

// shown is what vm show --json says that is needed here.
type shown struct {
	ID   string
	Dir  string
	Spec struct {
		MemMiB  int64 `json:"mem_mib"`
		DiskMiB int64 `json:"disk_mib"`
	}
	VMM struct {
		Driver, Version, Accel string
		PID                    int
	}
	Supervisor struct{ PID int }
	Session    struct{ Socket string }
	Used       int64 `json:"disk_used_bytes"`
}

func (x *b) command(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(x.bin, "banger"), args...)
	cmd.Env = x.env
	return cmd
}

// banger runs it and returns its output.
func (x *b) banger(args ...string) ([]byte, error) {
	out, err := x.command(args...).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return out, fmt.Errorf("banger %q: %w: %s", args, err, exit.Stderr)
		}
		return out, fmt.Errorf("banger %q: %w", args, err)
	}
	return out, nil
}

func (x *b) show() (v shown, err error) {
	text, err := x.banger("vm", "show", "--json", vmName)
	if err != nil {
		return v, err
	}
	return v, json.Unmarshal(text, &v)
}

// systemLimit bounds the wait for the guest's services.
const systemLimit = 3 * time.Minute

// create makes the VM, notes what its disk takes, starts it and waits until
// its services are up, so that they don't disturb.
func (x *b) create(vmm string) error {
	// The first VM may have to get image and kernel, and tells so.
	cmd := x.command("vm", "create", "--no-start", "--vmm", vmm, "--name", vmName)
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return err
	}
	v, err := x.show()
	if err != nil {
		return err
	}
	made := v.Used
	if err := copySparsely(filepath.Join(v.Dir, "disk"), filepath.Join(x.dir, freshFile)); err != nil {
		return err
	}
	if _, err := x.banger("vm", "start", "-q", vmName); err != nil {
		return err
	}
	if x.vm, err = x.show(); err != nil {
		return err
	}
	if x.model, err = readModel(x.vm); err != nil {
		return err
	}
	x.add(row{what: "disk of a new VM, really allocated: made", got: mib(made), limit: 5, unit: "MiB"})
	x.add(row{what: "disk of a new VM, really allocated: guest ready", got: mib(x.vm.Used), limit: 5, unit: "MiB"})
	ctx, cancel := context.WithTimeout(context.Background(), systemLimit)
	defer cancel()
	wait := exec.CommandContext(ctx, filepath.Join(x.bin, "banger"), "vm", "exec", vmName, "--", "sh", "-c",
		"until systemctl is-system-running | grep -q -x -e running -e degraded; do sleep 0.5; done; sleep 5")
	wait.Env = x.env
	return wait.Run()
}
