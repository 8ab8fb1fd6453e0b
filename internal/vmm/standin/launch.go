package standin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"banger/internal/channel"
	"banger/internal/launch"
	"banger/internal/unixsock"
	"banger/internal/vmm"
	"banger/internal/vmm/program"
)

// logKept is how much of the VMM's own words is kept, in bytes.
const logKept = 4 << 10

// maxOpenFiles is above what the streams of a machine and its commands take.
const maxOpenFiles = 2048

// fdStatus is the descriptor on which the stand-in says what it does, a line
// each: statusUp once, statusHeld when the VMM holds the guest still, and at the
// guest's end what the guest did.
const fdStatus = 3

// What the stand-in says: the others are vmm.Exit's.
const (
	statusUp    = "up"
	statusHeld  = "held"
	endReset    = "reset"
	endShutdown = "shutdown"
)

// Launch implements vmm.Driver. The VMM's socket answers some 10 ms after the
// start. The stand-in dies with this process.
func (d *Driver) Launch(ctx context.Context, s vmm.Spec) (vmm.Machine, error) {
	err := check(s)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("launch the stand-in: %w", err)
	}
	m, err := d.start(s)
	if err != nil {
		return nil, fmt.Errorf("launch the stand-in: %w", err)
	}
	select {
	case <-m.up:
		if m.vsock, err = unixsock.Hold(m.dir.file(fileVsock)); err == nil {
			return m, nil
		}
	case <-m.done:
		err = fmt.Errorf("it ended with %v", m.child.State())
		if words := strings.TrimSpace(m.exit.Stderr); words != "" {
			err = errors.New(words)
		}
	case <-ctx.Done():
		err = ctx.Err()
	}
	m.Close()
	return nil, fmt.Errorf("launch the stand-in: %w", err)
}

// start starts the VMM and what watches it; it returns before the VMM answers.
func (d *Driver) start(s vmm.Spec) (_ *machine, err error) {
	var undo []func() error
	defer func() {
		for i := len(undo) - 1; i >= 0 && err != nil; i-- {
			undo[i]()
		}
	}()
	disks, err := vmm.HoldDisks(s.Disks)
	if err != nil {
		return nil, err
	}
	undo = append(undo, func() error { disks.Release(); return nil })
	dir, err := makeDir(s)
	if err != nil {
		return nil, err
	}
	undo = append(undo, dir.remove)
	var ours, theirs [3]*os.File // console, log, status
	for i := range ours {
		if ours[i], theirs[i], err = os.Pipe(); err != nil {
			return nil, err
		}
		defer theirs[i].Close()
		undo = append(undo, ours[i].Close)
	}
	// It is there before the guest can call.
	hellos, err := unixsock.Listen(dir.file(fileHello))
	if err != nil {
		return nil, err
	}
	undo = append(undo, hellos.Close)
	spec, err := d.launchSpec(s, dir.path)
	if err != nil {
		return nil, err
	}
	spec.Stdout, spec.Stderr, spec.Files = theirs[0], theirs[1], theirs[2:]
	child, err := launch.Start(d.config.Launcher, spec)
	if err != nil {
		return nil, err
	}
	m := &machine{
		spec: s, events: vmm.NewEvents(),
		child: child, dir: dir, disks: disks, console: program.NewOutput(ours[0]),
		log: program.NewTail(logKept), up: make(chan struct{}), done: make(chan struct{}),
	}
	m.carrier = channel.NewHybridCarrier(hellos, func(ctx context.Context) (*net.UnixConn, error) {
		return m.vsock.Dial(ctx)
	}, func() { os.Remove(dir.file(fileHello)) })
	go m.watch(ours[1], ours[2]) // ends with the VMM
	return m, nil
}

// launchSpec is how the VMM of s is started: as a real one, but that its guest's
// commands are the host's, which need the host's files and write their own.
func (d *Driver) launchSpec(s vmm.Spec, dir string) (launch.Spec, error) {
	text, err := json.Marshal(order{Spec: s})
	if err != nil {
		return launch.Spec{}, err
	}
	spec := launch.Spec{
		Path: d.config.Launcher, Args: []string{d.verb, roleVMM, string(text)}, Dir: dir,
		NewSession: true, DieWithParent: true,
		Sockets:      launch.UnixSockets,
		MaxOpenFiles: maxOpenFiles,
	}
	vmm.Confine(&spec, s)
	spec.Access, spec.MaxFileSize = nil, 0
	return spec, nil
}
