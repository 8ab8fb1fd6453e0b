package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

// atOnce is how many VMs are started together, and sixRuns how often.
const (
	atOnce  = 6
	sixRuns = 3
)

// hostHead begins the page.
const hostHead = `# Benchmarks on real KVM

What "make bench-host" measures in the test host, all in one run. Boots are medians of %d, six at once of %d. The floor is the same VMM with the
same kernel, initramfs and disks, started by fork and exec alone; Firecracker by a file of configuration, which is its shortest way.
The test host is emulated itself: host and guests alike are about ten times slower than on a machine of one's own.

%s

`

// measureHost is make bench-host, inside the test host.
func (x *b) measureHost(out io.Writer) error {
	fmt.Fprintf(out, hostHead, x.runs, sixRuns, x.machine())
	for _, vmm := range []string{"firecracker", "qemu"} {
		if vmm == "firecracker" {
			if _, err := exec.LookPath(vmm); err != nil {
				fmt.Fprintln(os.Stderr, "bench: no firecracker here: its figures are left out")
				continue
			}
		}
		x.rows = nil
		err := doSteps(
			step{"a VM to measure on " + vmm, func() error { return x.create(vmm) }},
			step{"memory", x.beyondGuest},
			step{"network", x.network},
			// An idle guest takes some of the test host's one processor too.
			step{"its end", func() error { _, err := x.banger("vm", "stop", "-q", vmName); return err }},
			step{"floor and whole run", func() error { return x.boots(1.15) }},
			step{"six at once", x.six},
		)
		if err != nil {
			return err
		}
		if _, err := x.banger("vm", "delete", "-f", "-q", vmName); err != nil {
			return err
		}
		fmt.Fprintf(out, "## %s %s, %s\n\n", x.vm.VMM.Driver, x.vm.VMM.Version, x.vm.VMM.Accel)
		x.table(out)
		fmt.Fprintln(out)
	}
	return nil
}

// beyondGuest measures what supervisor and VMM have in memory beside the guest's
// own.
func (x *b) beyondGuest() error {
	sup, err := resident(x.vm.Supervisor.PID)
	if err != nil {
		return err
	}
	vmm, err := residentBut(x.vm.VMM.PID, x.vm.Spec.MemMiB<<10)
	if err != nil {
		return err
	}
	x.add(row{what: "supervisor, resident", got: sup / 1024, unit: "MiB"})
	x.add(row{what: x.vm.VMM.Driver + ", resident beyond the guest's memory", got: vmm / 1024, unit: "MiB"})
	x.add(row{what: "both", got: (sup + vmm) / 1024, limit: 25, unit: "MiB"})
	return nil
}

// residentBut sums a process's resident memory in KiB (proc(5), smaps) without
// the mapping that is the guest's: of its size, or of most of it where it is in
// two parts.
func residentBut(pid int, guestKiB int64) (float64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var sum, size int64
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ":")
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		switch {
		case err != nil:
		case key == "Size":
			size = kib
		case key == "Rss" && size < guestKiB/2:
			sum += kib
		}
	}
	return float64(sum), lines.Err()
}

// six starts atOnce VMs bare, and then by banger, until all are ready.
func (x *b) six() error {
	var floor, ours []time.Duration
	for r := range sixRuns {
		var bares [atOnce]*bare
		var disks [atOnce]string
		name := func(i int) string { return fmt.Sprintf("six%d-%d", r, i) }
		for i := range disks {
			var err error
			if disks[i], err = x.freshDisk(name(i)); err != nil {
				return err
			}
		}
		time.Sleep(settle)
		took, err := together(func(i int) (err error) {
			bares[i], err = x.startBare(name(i), disks[i])
			return err
		})
		for _, b := range bares {
			if b != nil {
				b.close()
			}
		}
		if err != nil {
			return fmt.Errorf("boot six bare: %w", err)
		}
		floor = append(floor, took)
		time.Sleep(settle)
		took, err = together(func(i int) error {
			_, err := x.banger("vm", "create", "-q", "--vmm", x.vm.VMM.Driver, "--name", name(i))
			return err
		})
		if err != nil {
			return err
		}
		ours = append(ours, took)
		if _, err := together(func(i int) error {
			_, err := x.banger("vm", "delete", "-f", "-q", name(i))
			return err
		}); err != nil {
			return err
		}
	}
	f, o := median(floor), median(ours)
	x.add(row{what: fmt.Sprintf("%d bare %s at once, until all are ready", atOnce, x.vm.VMM.Driver), got: f.Seconds(), unit: "s"})
	x.add(row{what: fmt.Sprintf("%d `banger vm create` at once, until all are ready", atOnce), got: o.Seconds(), limit: 1.3 * f.Seconds(), unit: "s", of: "1.30 × bare"})
	return nil
}

// together does do for each number at once and says how long all took.
func together(do func(i int) error) (time.Duration, error) {
	var errs [atOnce]error
	var wg sync.WaitGroup
	begin := time.Now()
	for i := range atOnce {
		wg.Go(func() { errs[i] = do(i) })
	}
	wg.Wait()
	return time.Since(begin), errors.Join(errs[:]...)
}
