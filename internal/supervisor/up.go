package supervisor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"banger/internal/channel"
	"banger/internal/channel/control"
	"banger/internal/fault"
	"banger/internal/launch"
	"banger/internal/paths"
	"banger/internal/vm"
	"banger/internal/vmm"
)

// Limits of a boot. A guest on KVM is ready in a second or two, on a KVM that is
// emulated itself, with others beside it, in a minute. An emulated guest is about
// ten times slower.
const (
	bootLimitKVM      = 2 * time.Minute
	bootLimitEmulated = 5 * time.Minute
	// A repair reads the whole file system.
	repairLimit = time.Hour
)

// launch starts the VMM. A stop or a kill that comes before the VMM answers
// gives the launch up.
func (r *run) launch(ctx context.Context) (vmm.Machine, *vm.Ending) {
	driver, err := r.drivers.Find(r.order.Driver)
	if err != nil {
		return nil, launchFailed(err)
	}
	r.update(func(s *Status) { s.Text = "starting " + driver.Name() })
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		m   vmm.Machine
		err error
	}
	launched := make(chan result, 1)
	go func() { // ends soon after ctx, or with the process; launched has room
		var res result
		res.err = fault.Do("launch.vmm", func() (err error) {
			res.m, err = driver.Launch(ctx, r.order.Spec)
			return err
		})
		launched <- res
	}()
	var asked *request
	var late <-chan time.Time
	for {
		select {
		case <-late:
			// The launch hangs, in the host's kernel perhaps. A VMM of it ends with this
			// process.
			r.log.Warn("the launch was given up and goes on")
			return nil, endedEarly(*asked)
		case res := <-launched:
			switch {
			case asked != nil:
				if res.err == nil {
					res.m.Close()
				}
				return nil, endedEarly(*asked)
			case res.err != nil:
				return nil, launchFailed(res.err)
			}
			return res.m, nil
		case q := <-r.requests:
			q.reply <- nil
			r.update(func(s *Status) { s.Phase, s.Text = Ending, "giving the start up" })
			if asked == nil {
				late = time.After(launchLimit)
			}
			asked = &q
			cancel()
		}
	}
}

// attend does what a running VMM needs beside the goroutine that owns the run: its
// console is read, its events are heard, its processes leave their starter's
// scope. The function that it returns closes m and waits for all that; a second
// call does nothing.
func (r *run) attend(m vmm.Machine) (stop func()) {
	p := m.Process()
	r.machine.Store(&m)
	r.update(func(s *Status) { s.Phase, s.VMM, s.Gaps, s.Text = Booting, &p, m.Gaps(), "booting the kernel" })
	r.log.Info("vmm launched", "driver", r.order.Driver, "pid", p.PID)
	var beside sync.WaitGroup
	beside.Go(func() { io.Copy(r.console, m.Console()) })  // ends with the VMM
	beside.Go(func() { newGuard(r, m).watch() })           // ends with the VMM
	beside.Go(func() { (&timekeeper{r: r, m: m}).keep() }) // ends with the VMM
	network := r.openNetwork()
	if network != nil {
		r.network.Store(network)
		network.carry(r, m)
	}
	beside.Go(func() { launch.EnterScope("banger-"+string(r.order.ID)+".scope", os.Getpid(), p.PID) }) // bounded by itself
	return sync.OnceFunc(func() {
		if err := m.Close(); err != nil {
			r.log.Warn("close the machine", "err", err)
		}
		network.close()
		beside.Wait()
		r.update(func(s *Status) { s.VMM = nil })
	})
}

// bringUp waits for the guest's hello and its joined root, each raced against the
// VMM's end, a request and the limit in ctx. It returns nil when the guest is
// ready, else how the run ends.
func (r *run) bringUp(ctx context.Context, m vmm.Machine) *vm.Ending {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- r.introduce(ctx, m) }() // ends with ctx at the latest; done has room
	select {
	case err := <-done:
		if err == nil {
			r.update(func(s *Status) { s.Phase, s.Text = Ready, "ready" })
			return nil
		}
		// The channel breaks a moment before the VMM is reaped: its end is the
		// better reason.
		select {
		case <-m.Done():
			return died(m.Exit())
		case <-time.After(500 * time.Millisecond):
		}
		if s, _ := r.now(); s.Held != "" {
			return ended(vm.CauseBoot, s.Held)
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			e := ended(vm.CauseBoot, err.Error())
			if errors.Is(err, control.ErrDamaged) {
				e.Hint = "banger vm start --repair " + r.name() + " repairs it; what can't be read is lost"
			}
			return e
		}
		if err := vmmSilent(m); err != nil {
			return ended(vm.CauseBoot, err.Error())
		}
		return ended(vm.CauseBoot, "the guest did not come up in its time")
	case <-m.Done():
		return died(m.Exit())
	case q := <-r.requests:
		q.reply <- nil
		if q.stop == nil {
			return r.kill(m, q.kill)
		}
		r.update(func(s *Status) { s.Phase, s.Text = Ending, "giving the start up" })
		return endedEarly(q)
	}
}

// introduce hears the guest's hello and tells the guest who it is.
func (r *run) introduce(ctx context.Context, m vmm.Machine) error {
	hello, err := m.Carrier().Hello(ctx)
	if err != nil {
		return fmt.Errorf("wait for the guest's hello: %w", err)
	}
	if hello.Protocol < channel.ProtocolMin || hello.Protocol > channel.Protocol {
		return fmt.Errorf("the guest's agent speaks protocol %d, this program %d to %d", hello.Protocol, channel.ProtocolMin, channel.Protocol)
	}
	r.update(func(s *Status) {
		s.Phase, s.Text, s.BootID, s.AgentProtocol = Joining, "joining the root", escape(hello.BootID), hello.Protocol
	})
	r.log.Info("guest said hello", "agent", fmt.Sprintf("%.64q", hello.Agent), "kernel", fmt.Sprintf("%.64q", hello.Kernel))
	id := r.identity()
	if err := r.knows(id); err != nil {
		return err
	}
	ready, err := r.guest(m).Identity(ctx, id)
	if err != nil {
		return fmt.Errorf("join the guest's root: %w", err)
	}
	r.log.Info("guest is ready", "uptime_ms", ready.UptimeMillis)
	r.foundDisk(ready.Disk)
	return nil
}

// knows returns an error if the guest's agent is too old to heed all of what is to be
// said to it.
func (r *run) knows(said interface{ Needs() (int, string) }) error {
	s, _ := r.now()
	if protocol, what := said.Needs(); s.AgentProtocol < protocol {
		return fmt.Errorf("the guest's agent is of an earlier version of banger, and does not know %s", what)
	}
	return nil
}

// identity is who the guest is, as of now.
func (r *run) identity() control.Identity {
	entropy := make([]byte, 64)
	rand.Read(entropy)
	return control.Identity{
		Hostname: r.order.Name,
		// A machine id is 128 bits; the VM's id is 64 of them, twice.
		MachineID: string(r.order.ID) + string(r.order.ID),
		UnixNano:  time.Now().UnixNano(),
		Entropy:   entropy,
		NoInit:    r.order.NoInit,
		HoldInit:  r.order.HoldInit,
		Repair:    r.order.Repair,
		Zone:      zoneOf(r.order.TZ),
		Network:   r.networkIdentity(),
		SSH:       r.ssh(),
	}
}

// ssh is what the guest's SSH service is told; nil if the VM has no host key.
func (r *run) ssh() *control.SSH {
	key, err := os.ReadFile(filepath.Join(r.order.Dir, paths.HostKeyFile))
	if err != nil {
		r.log.Warn("the guest gets no SSH service", "err", err)
		return nil
	}
	return &control.SSH{HostKey: key, Clients: r.order.SSHClients}
}

// welcome takes an agent that answers again, perhaps a new one: it is told who the
// guest is, and has to be in the same boot of it.
func (r *run) welcome(ctx context.Context, m vmm.Machine) error {
	ready, err := r.guest(m).Identity(ctx, r.identity())
	if err != nil {
		return fmt.Errorf("take the guest's agent again: %w", err)
	}
	if s, _ := r.now(); ready.BootID != "" && escape(ready.BootID) != s.BootID {
		return fmt.Errorf("take the guest's agent again: it is in the boot %.64q of the guest", ready.BootID)
	}
	r.log.Info("the guest's agent is taken again", "again", ready.Again)
	return nil
}
