package supervisor

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"banger/internal/channel"
	"banger/internal/channel/control"
	"banger/internal/launch"
	"banger/internal/paths"
	"banger/internal/process"
	"banger/internal/vm"
	"banger/internal/vmm"
)

// run is one run of a VM.
type run struct {
	spec    Spec
	log     *slog.Logger
	console *consoleLog

	stop chan Stop // the first request to end; later ones are dropped

	mu      sync.Mutex
	status  Status
	changed chan struct{} // closed and replaced when status changes
	machine vmm.Machine   // nil before the launch
}

// Run is `bangerd supervise`: it reads the order in dir, brings the VM up on
// one of drivers, answers on l, and returns when the VMM is gone and that is
// written down. A SIGTERM asks for a graceful end: the host shuts down, or its
// user manager ends.
func Run(ctx context.Context, drivers Drivers, dir string, l *net.UnixListener) error {
	spec, err := readSpec(dir)
	if err != nil {
		return err
	}
	self, err := process.Self()
	if err != nil {
		return err
	}
	console, err := openConsoleLog(filepath.Join(dir, paths.ConsoleFile))
	if err != nil {
		return fmt.Errorf("open console log: %w", err)
	}
	defer console.Close()
	r := &run{
		spec:    spec,
		log:     slog.With("vm", spec.ID, "op", spec.Op),
		console: console,
		stop:    make(chan Stop, 1),
		status:  Status{ID: spec.ID, Phase: Launching, Supervisor: self},
		changed: make(chan struct{}),
	}
	server := newServer(r)
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(l) }) // ends with server.Close below
	defer context.AfterFunc(ctx, func() { r.requestStop(Stop{host: true}) })()

	fmt.Fprintf(console, "-- banger: %s started %s\n", spec.Name, time.Now().UTC().Format(time.RFC3339))
	ending, failed := r.live(drivers)
	err = writeEnding(dir, Status{ID: spec.ID, Phase: Gone, Supervisor: self, Ending: &ending, Failed: failed})
	console.Close()
	r.update(func(s *Status) { s.Phase, s.Ending, s.Failed, s.VMM = Gone, &ending, failed, nil })
	r.log.Info("run ended", "cause", ending.Cause, "detail", ending.Detail, "forced", ending.Forced)

	// Followers of events and console see the end by themselves; sessions have
	// lost their streams.
	over, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if server.Shutdown(over) != nil {
		server.Close()
	}
	serving.Wait()
	return err
}

func (s Spec) emulated() bool { return s.Found.Accel != vmm.AccelKVM }

func readSpec(dir string) (Spec, error) {
	text, err := os.ReadFile(filepath.Join(dir, SpecFile))
	if err != nil {
		return Spec{}, err
	}
	var s Spec
	if err := json.Unmarshal(text, &s); err != nil {
		return Spec{}, fmt.Errorf("read %s: %w", SpecFile, err)
	}
	return s, vm.CheckID(string(s.ID))
}

func writeEnding(dir string, s Status) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	tmp := filepath.Join(dir, "."+RunFile)
	if err := os.WriteFile(tmp, text, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(dir, RunFile))
}

// ReadEnding returns what the last supervisor wrote of its run's end in dir,
// or fs.ErrNotExist.
func ReadEnding(dir string) (Status, error) {
	text, err := os.ReadFile(filepath.Join(dir, RunFile))
	if err != nil {
		return Status{}, err
	}
	var s Status
	return s, json.Unmarshal(text, &s)
}

// live brings the guest up, watches it and brings it down. It returns when the
// VMM is gone; failed says that the guest never was ready.
func (r *run) live(drivers Drivers) (ending vm.Ending, failed bool) {
	driver, err := drivers.find(r.spec.Driver)
	if err != nil {
		return r.ended(vm.CauseBoot, err.Error()), true
	}
	limit := bootLimitKVM
	if r.spec.emulated() {
		limit = bootLimitEmulated
	}
	up, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()

	r.update(func(s *Status) { s.Text = "starting " + driver.Name() })
	m, err := driver.Launch(up, r.machineSpec())
	if err != nil {
		return r.ended(vm.CauseBoot, err.Error()), true
	}
	p := m.Process()
	r.update(func(s *Status) { s.Phase, s.VMM, s.Gaps, s.Text = Booting, &p, m.Gaps(), "booting the kernel" })
	r.log.Info("vmm launched", "driver", driver.Name(), "pid", p.PID)
	var draining, entering sync.WaitGroup
	draining.Go(func() { io.Copy(r.console, m.Console()) }) // ends with the VMM
	defer draining.Wait()
	// Beside the boot, which need not wait for it.
	entering.Go(func() { launch.EnterScope("banger-"+string(r.spec.ID)+".scope", os.Getpid(), p.PID) }) // bounded by itself
	defer entering.Wait()
	defer m.Close()
	r.mu.Lock()
	r.machine = m
	r.mu.Unlock()

	if ending, ok := r.bringUp(up, m); !ok {
		m.Close()
		draining.Wait()
		ending.Console = lastLines(r.console.Tail())
		if line := panicLine(r.console.Tail()); line != "" {
			ending.Cause, ending.Detail = vm.CausePanic, line
		}
		return ending, true
	}

	select {
	case <-m.Done():
		draining.Wait()
		return r.guestEnded(m.Exit()), false
	case s := <-r.stop:
		forced := r.bringDown(m, s)
		m.Close()
		ending := r.ended(vm.CauseStopped, s.detail())
		ending.Forced = forced
		return ending, false
	}
}

// bringUp waits for the hello, says who the guest is, and waits for its joined
// root: each raced against the VMM's end, a request to stop and the limit.
func (r *run) bringUp(ctx context.Context, m vmm.Machine) (vm.Ending, bool) {
	type result struct{ err error }
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan result, 1)
	go func() { done <- result{r.introduce(ctx, m.Carrier())} }() // ends with ctx at the latest; done has room
	select {
	case res := <-done:
		if res.err == nil {
			r.update(func(s *Status) { s.Phase, s.Text = Ready, "ready" })
			return vm.Ending{}, true
		}
		// The channel breaks a moment before the VMM is reaped: its end is the
		// better reason.
		select {
		case <-m.Done():
			return r.died(m.Exit()), false
		case <-time.After(500 * time.Millisecond):
		}
		if errors.Is(res.err, context.DeadlineExceeded) {
			return r.ended(vm.CauseBoot, "the guest did not come up in its time"), false
		}
		return r.ended(vm.CauseBoot, res.err.Error()), false
	case <-m.Done():
		return r.died(m.Exit()), false
	case s := <-r.stop:
		cause := vm.CauseStopped
		if s.Cancelled {
			cause = vm.CauseCancelled
		}
		return r.ended(cause, cmp.Or(s.detail(), "ended before the guest was up")), false
	}
}

func (r *run) introduce(ctx context.Context, c channel.Carrier) error {
	hello, err := c.Hello(ctx)
	if err != nil {
		return fmt.Errorf("wait for the guest's hello: %w", err)
	}
	if hello.Protocol < channel.ProtocolMin || hello.Protocol > channel.Protocol {
		return fmt.Errorf("the guest's agent speaks protocol %d, this program %d to %d", hello.Protocol, channel.ProtocolMin, channel.Protocol)
	}
	r.update(func(s *Status) { s.Phase, s.Text = Joining, "joining the root" })
	r.log.Info("guest said hello", "agent", fmt.Sprintf("%.64q", hello.Agent), "kernel", fmt.Sprintf("%.64q", hello.Kernel))
	entropy := make([]byte, 64)
	rand.Read(entropy)
	ready, err := r.guest(c).Identity(ctx, control.Identity{
		Hostname: r.spec.Name,
		// A machine id is 128 bits; the VM's id is 64 of them, twice.
		MachineID: string(r.spec.ID) + string(r.spec.ID),
		UnixNano:  time.Now().UnixNano(),
		Entropy:   entropy,
	})
	if err != nil {
		return fmt.Errorf("join the guest's root: %w", err)
	}
	r.log.Info("guest is ready", "uptime_ms", ready.UptimeMillis)
	return nil
}

func (r *run) guest(c channel.Carrier) *control.Client {
	return control.NewClient(func(ctx context.Context) (net.Conn, error) { return c.Dial(ctx, channel.PortControl) })
}

// bringDown ends a running guest and reports whether force was needed.
func (r *run) bringDown(m vmm.Machine, s Stop) (forced bool) {
	grace := graceKVM
	if r.spec.emulated() {
		grace = graceEmulated
	}
	guest := r.guest(m.Carrier())
	r.saveCoverage(guest)
	if s.Discard {
		ctx, cancel := context.WithTimeout(context.Background(), syncLimit)
		defer cancel()
		r.update(func(s *Status) { s.Phase, s.Text = Ending, "syncing the guest's disk" })
		err := guest.Sync(ctx)
		if err != nil {
			r.log.Warn("sync before the end", "err", err)
		}
		return err != nil
	}
	r.update(func(s *Status) { s.Phase, s.Text = Ending, "stopping the guest's services" })
	// The agent forces the end itself after its grace; ours is the backstop.
	ctx, cancel := context.WithTimeout(context.Background(), grace+5*time.Second)
	defer cancel()
	asked := make(chan error, 1)
	go func() { // ends with ctx at the latest; asked has room
		asked <- guest.End(ctx, control.End{GraceMillis: grace.Milliseconds()}, func(e control.EndEvent) {
			if e.Stage == "forced" {
				r.mu.Lock()
				forced = true
				r.mu.Unlock()
				r.update(func(s *Status) { s.Text = "the guest's services did not end in time: forcing" })
			}
		})
	}()
	select {
	case <-m.Done():
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-m.Done():
		return forced
	default:
		return true
	}
}

// died is the end of a run whose VMM went before the guest was ready.
func (r *run) died(x vmm.Exit) vm.Ending {
	if x.Guest != "" {
		return r.ended(vm.CauseBoot, "the guest ended itself ("+x.Guest+") before it was up")
	}
	return r.ended(vm.CauseVMM, exitText(x))
}

// guestEnded is the end of a run that nobody here asked for.
func (r *run) guestEnded(x vmm.Exit) vm.Ending {
	if line := panicLine(r.console.Tail()); line != "" {
		e := r.ended(vm.CausePanic, line)
		e.Console = lastLines(r.console.Tail())
		return e
	}
	if x.Guest != "" {
		return r.ended(vm.CauseGuest, "the guest ended itself ("+x.Guest+")")
	}
	e := r.ended(vm.CauseVMM, exitText(x))
	e.Console = lastLines(r.console.Tail())
	return e
}

func exitText(x vmm.Exit) string {
	text := fmt.Sprintf("the VMM ended with status %d", x.Code)
	if x.Signal != 0 {
		text = fmt.Sprintf("the VMM was ended by signal %d (%v)", x.Signal, syscall.Signal(x.Signal))
	}
	if lines := lastLines([]byte(x.Stderr)); len(lines) > 0 {
		text += ": " + lines[len(lines)-1]
	}
	return text
}

func (r *run) ended(cause, detail string) vm.Ending {
	return vm.Ending{At: time.Now().UTC(), Cause: cause, Detail: detail}
}

func (r *run) machineSpec() vmm.Spec {
	s := vmm.Spec{
		ID: r.spec.ID, Dir: r.spec.Dir, RunDir: r.spec.RunDir,
		VCPUs: r.spec.VCPUs, MemMiB: r.spec.MemMiB, Found: r.spec.Found,
		Kernel: r.spec.Kernel, Initrd: r.spec.Initrd, Cmdline: guestCmdline,
	}
	for _, d := range r.spec.Disks {
		s.Disks = append(s.Disks, vmm.Disk{Path: d.Path, ReadOnly: d.ReadOnly})
	}
	return s
}

// guestCmdline is what every guest gets beside the driver's own arguments:
// loglevel 4 keeps warnings and worse on the console, and saves an emulated
// guest the serial port's time.
const guestCmdline = "loglevel=4"

func (r *run) requestStop(s Stop) {
	select {
	case r.stop <- s:
	default: // one request is there already
	}
}

func (r *run) update(change func(*Status)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.status)
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *run) snapshot() (Status, chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status, r.changed
}

// carrier returns the guest's channel once the guest is ready, else nil.
func (r *run) carrier() channel.Carrier {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.machine == nil || (r.status.Phase != Ready && r.status.Phase != Ending) {
		return nil
	}
	return r.machine.Carrier()
}
