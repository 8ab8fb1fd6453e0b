package standin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/agent/command"
	"banger/internal/channel"
	"banger/internal/channel/control"
	"banger/internal/channel/flow"
	"banger/internal/channel/netflow"
)

// agentPorts are the agent's: control, and exec in the guest's directory, which
// is root's home there.
func agentPorts(g *guest) (map[uint32]func(net.Listener), error) {
	bin := filepath.Join(g.spec.RunDir, Name, dirBin)
	if err := writePrograms(bin, os.Getpid()); err != nil {
		return nil, err
	}
	g.exec.Env = []string{"HOME=" + guestDir(g.spec), "PATH=" + bin + ":" + command.DefaultPath}
	g.exec.Agent = []string{"bangerd", Verb, roleAgent}
	return map[uint32]func(net.Listener){
		channel.PortControl: func(l net.Listener) { control.Serve(l, g) },
		channel.PortExec:    g.exec.Serve,
		channel.PortFlow:    serveFlows,
	}, nil
}

// serveFlows takes carriers of flows: a stand-in has no network of its own, and nothing
// that listens.
func serveFlows(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		flow.New(c, false, 0, func(f *flow.Flow) { f.Refuse(netflow.Refused, "a stand-in has no network") })
	}
}

// writePrograms writes the commands that end the guest, or fill its disk, before
// those of the host's in PATH: each sends the guest's process a signal.
func writePrograms(dir string, pid int) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for name, sig := range map[string]syscall.Signal{
		"reboot": signalReset, "poweroff": signalShutdown, "halt": signalShutdown, "panic": signalPanic,
		"fill": signalFill,
	} {
		text := fmt.Sprintf("#!/bin/sh\nkill -%d %d\n", sig, pid)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
			return err
		}
	}
	return nil
}

var _ control.Service = (*guest)(nil)

// Identity implements control.Service: there is no root to join. A second call
// answers as the first.
func (g *guest) Identity(context.Context, control.Identity) (control.Ready, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ready == nil {
		g.ready = &control.Ready{UptimeMillis: g.uptime()}
	}
	return *g.ready, nil
}

func (g *guest) uptime() int64 { return time.Since(g.begin).Milliseconds() }

// Health implements control.Service. Memory is all free, and there is no disk.
func (g *guest) Health(context.Context) (control.Health, error) {
	mem := g.spec.MemMiB << 10
	return control.Health{
		UptimeMillis: g.uptime(), Init: "agent", ExecProcesses: g.exec.Running(),
		MemTotalKiB: mem, MemFreeKiB: mem,
	}, nil
}

// Grow implements control.Service. A stand-in has the host's file system.
func (g *guest) Grow(context.Context, control.Grow) error { return nil }

// Sync implements control.Service. The host's kernel has what was written
// already, and keeps it beyond the VMM's end.
func (g *guest) Sync(ctx context.Context) error {
	if !g.now().NoSync {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

// Measure implements control.Service.
func (g *guest) Measure(ctx context.Context) (control.Measure, error) {
	nanos, err := g.exec.Measure(ctx)
	return control.Measure{ForkExecNanos: nanos}, err
}

// Events implements control.Service: a guest without a kernel kills nothing, but as
// its behaviour says.
func (g *guest) Events(ctx context.Context, each func(control.Event)) error {
	said := ""
	each(control.Event{})
	for {
		if b := g.now(); b.OutOfMemory != said && b.OutOfMemory != "" {
			said = b.OutOfMemory
			each(control.Event{OutOfMemory: &control.OutOfMemory{Kills: 1, Process: said}})
		}
		select {
		case <-time.After(20 * time.Millisecond): // nobody tells that a file has changed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Clock implements control.Service: the guest's clocks are the host's.
func (g *guest) Clock(context.Context) (control.Clock, error) {
	var boot unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot); err != nil {
		return control.Clock{}, err
	}
	return control.Clock{BootNanos: boot.Nano(), UnixNano: time.Now().UnixNano()}, nil
}

// SetClock implements control.Service.
func (g *guest) SetClock(context.Context, control.ClockSet) error {
	return errors.New("the host's clock is not a guest's to set")
}

// End implements control.Service: it ends the guest by a reset, in the stages
// of a guest whose init is the agent.
func (g *guest) End(e control.End, each func(control.EndEvent)) error {
	g.mu.Lock()
	again := g.ending
	g.ending = true
	g.mu.Unlock()
	if again {
		return errors.New("the guest is ending already")
	}
	limit := time.Now().Add(e.Grace())
	each(control.EndEvent{Stage: "asked"})
	if g.now().NoEnd {
		select {}
	}
	if !endAll(time.Now().Add(g.now().endDelay()), limit) {
		each(control.EndEvent{Stage: "forced"})
	}
	each(control.EndEvent{Stage: "synced"})
	g.leave(endReset, "reboot: Restarting system")
	return nil
}
