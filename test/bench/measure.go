package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"banger/internal/channel"
	"banger/internal/channel/control"
	"banger/internal/session"
)

const (
	often    = 25        // how often what takes milliseconds is measured
	bulk     = 256 << 20 // bytes of a transfer
	bulkRuns = 7
)

func median[T int64 | float64 | time.Duration](list []T) T {
	s := slices.Sorted(slices.Values(list))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

func mib(bytes int64) float64             { return float64(bytes) / (1 << 20) }
func ms(d time.Duration) float64          { return float64(d) / float64(time.Millisecond) }
func rate(n int, d time.Duration) float64 { return mib(int64(n)) / d.Seconds() }

// settle is the wait before a measured boot, so that what came before it, such
// as the emptying of the trash, does not go on beside it.
const settle = time.Second

func copySparsely(from, to string) error {
	out, err := exec.Command("cp", "--sparse=always", from, to).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// boots measures the floor and the whole run in turn; times is what the whole
// may take of the floor.
func (x *b) boots(times float64) error {
	var floor, whole []time.Duration
	for i := range x.runs {
		time.Sleep(settle)
		m, err := x.bare("bare" + strconv.Itoa(i))
		if err != nil {
			return fmt.Errorf("boot bare: %w", err)
		}
		floor = append(floor, m.joined)
		m.close()

		time.Sleep(settle)
		begin := time.Now()
		if _, err := x.banger("vm", "run", "--vmm", x.vm.VMM.Driver, "--rm", "-q", "--", "true"); err != nil {
			return err
		}
		whole = append(whole, time.Since(begin))
	}
	f, w := median(floor), median(whole)
	x.add(row{what: "bare " + x.vm.VMM.Driver + " until the agent reports the root joined (floor)", got: f.Seconds(), unit: "s"})
	x.add(row{what: "`banger vm run --rm -- true`, all of it", got: w.Seconds(), limit: times * f.Seconds(), unit: "s", of: fmt.Sprintf("%.2f × floor", times)})
	return nil
}

// bare starts the VMM of the measured VM bare, with a disk of its own, and waits
// for the joined root.
func (x *b) bare(name string) (*bare, error) {
	disk, err := x.freshDisk(name)
	if err != nil {
		return nil, err
	}
	return x.startBare(name, disk)
}

func (x *b) startBare(name, disk string) (*bare, error) {
	defer os.Remove(disk) // it stays as long as it is open
	if x.vm.VMM.Driver == "firecracker" {
		return x.startFirecracker(filepath.Join(x.dir, name), disk)
	}
	return startQEMU(x.bareArgs(disk), false)
}

// small measures what needs no guest's answer, and what processes take.
func (x *b) small() error {
	var help []time.Duration
	for range often {
		begin := time.Now()
		if _, err := x.banger("--help"); err != nil {
			return err
		}
		help = append(help, time.Since(begin))
	}
	x.add(row{what: "`banger --help`", got: ms(median(help)), limit: 30, unit: "ms"})
	daemon, err := x.daemonPID()
	if err != nil {
		return err
	}
	time.Sleep(2 * time.Second) // until both are idle
	for _, p := range []struct {
		what  string
		pid   int
		limit float64
	}{{"bangerd", daemon, 30}, {"supervisor", x.vm.Supervisor.PID, 20}} {
		kib, err := resident(p.pid)
		if err != nil {
			return err
		}
		x.add(row{what: p.what + ", resident, idle", got: kib / 1024, limit: p.limit, unit: "MiB"})
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	h, err := x.guest().Health(ctx)
	if err != nil {
		return err
	}
	x.add(row{what: "agent in the guest, resident, idle", got: float64(h.AgentRSSKiB) / 1024, limit: 16, unit: "MiB"})
	return nil
}

// daemonPID is the daemon's.
func (x *b) daemonPID() (int, error) {
	text, err := x.banger("daemon", "status", "--json")
	if err != nil {
		return 0, err
	}
	var daemon struct{ PID int }
	err = json.Unmarshal(text, &daemon)
	return daemon.PID, err
}

// resident is a process's VmRSS in KiB (proc(5)).
func resident(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, after, _ := strings.Cut(string(text), "\nVmRSS:")
	return strconv.ParseFloat(strings.Fields(after)[0], 64)
}

// guest is the measured VM's control service, by way of its supervisor.
func (x *b) guest() *control.Client {
	return control.NewClient(func(ctx context.Context) (net.Conn, error) {
		return session.Dial(ctx, x.vm.Session.Socket, channel.PortControl)
	})
}

// exec measures a command in a running guest against the guest's own.
func (x *b) exec() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var took []time.Duration
	var own []int64
	for range often {
		begin := time.Now()
		if _, err := x.banger("vm", "exec", vmName, "--", "true"); err != nil {
			return err
		}
		took = append(took, time.Since(begin))
		m, err := x.guest().Measure(ctx)
		if err != nil {
			return err
		}
		own = append(own, m.ForkExecNanos...)
	}
	o := float64(median(own)) / 1e6
	x.add(row{what: "the guest's own fork and exec of a static program", got: o, unit: "ms"})
	x.add(row{what: "`banger vm exec VM -- true`", got: ms(median(took)), limit: 3 * o, unit: "ms", of: "3 × the guest's own"})
	return nil
}

// bytes measures exec's stdin, from the file at path, and stdout, in MiB/s.
func (x *b) bytes(path string) (in, out float64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	cmd := x.command("vm", "exec", vmName, "--", "dd", "of=/dev/null", "bs=256k", "iflag=fullblock", "status=none")
	cmd.Stdin = f
	begin := time.Now()
	if err := cmd.Run(); err != nil {
		return 0, 0, fmt.Errorf("send: %w", err)
	}
	in = rate(bulk, time.Since(begin))
	cmd = x.command("vm", "exec", vmName, "--", "dd", "if=/dev/zero", "bs=256k", fmt.Sprintf("count=%d", bulk>>18), "status=none")
	begin = time.Now()
	if err := cmd.Run(); err != nil { // to /dev/null
		return 0, 0, fmt.Errorf("receive: %w", err)
	}
	return in, rate(bulk, time.Since(begin)), nil
}
