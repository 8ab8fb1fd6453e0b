package firecracker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"banger/internal/channel"
	"banger/internal/hint"
	"banger/internal/launch"
	"banger/internal/unixsock"
	"banger/internal/vmm"
	"banger/internal/vmm/program"
)

// logKept is how much of Firecracker's own words is kept, in bytes.
const logKept = 4 << 10

// endLimit is how long a Firecracker may take to end after a failed call: one
// whose machine can't be built ends by itself.
const endLimit = time.Second

// fdLog is the descriptor of Firecracker's log: a pipe, so that it fills no
// disk.
const fdLog = 3

// maxOpenFiles is Firecracker's own recommendation for its jailer
// (docs/jailer.md), and above what all vCPUs, disks and streams of a machine
// take.
const maxOpenFiles = 2048

// Launch implements vmm.Driver. The API answers some 10 ms after the start, the
// guest runs 50 ms later. Firecracker dies with this process.
func (d *Driver) Launch(ctx context.Context, s vmm.Spec) (vmm.Machine, error) {
	p := s.Found
	if !p.Usable {
		p = d.Probe(ctx)
	}
	if !p.Usable {
		return nil, hint.Missing(fmt.Errorf("launch Firecracker: %s", p.Why), "banger doctor says what is missing")
	}
	err := check(s)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("launch Firecracker: %w", err)
	}
	m, err := d.start(p.Path, s)
	if err != nil {
		return nil, fmt.Errorf("launch Firecracker: %w", err)
	}
	if err = awaitAPI(ctx, m.dir.file(fileAPI), m.child.Done()); err == nil {
		m.api, err = unixsock.Hold(m.dir.file(fileAPI))
	}
	if err == nil {
		api := newClient(m.api)
		defer api.close()
		if err = configure(ctx, api, s); err == nil {
			err = m.holdVsock()
		}
		if err == nil {
			err = boot(ctx, api)
		}
	}
	if err == nil {
		return m, nil
	}
	// Its own words, where it has ended, are the better reason: but not than an
	// answer of the API, which is in words already.
	var refused *fault
	if ended := m.endsSoon(ctx); ended && !errors.As(err, &refused) {
		err = fmt.Errorf("firecracker ended with %v", m.child.State())
		if words := lastWords(m.exit.Stderr); words != "" {
			err = errors.New(words)
		}
	}
	m.Close()
	return nil, fmt.Errorf("launch Firecracker: %w", errors.Join(ctx.Err(), err))
}

// endsSoon waits for the end of a Firecracker that failed.
func (m *machine) endsSoon(ctx context.Context) bool {
	select {
	case <-m.done:
		return true
	case <-time.After(endLimit):
	case <-ctx.Done():
	}
	return false
}

// start starts Firecracker and what watches it; it returns before the API
// answers.
func (d *Driver) start(path string, s vmm.Spec) (_ *machine, err error) {
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
	consoleR, consoleW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer consoleW.Close()
	undo = append(undo, consoleR.Close)
	keysR, keysW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer keysR.Close()
	undo = append(undo, keysW.Close)
	logR, logW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer logW.Close()
	undo = append(undo, logR.Close)
	// It is there before the guest can call.
	helloPath := dir.file(fileVsock + "_" + strconv.Itoa(int(channel.PortHello)))
	hellos, err := unixsock.Listen(helloPath)
	if err != nil {
		return nil, err
	}
	undo = append(undo, hellos.Close)
	spec := launch.Spec{
		Path: path,
		Args: []string{"--id", string(s.ID), "--api-sock", fileAPI,
			"--log-path", "/proc/self/fd/" + strconv.Itoa(fdLog), "--level", "Error"},
		Dir:   dir.path,
		Files: []*os.File{logW}, Stdin: keysR, Stdout: consoleW, Stderr: logW,
		NewSession: true, DieWithParent: true,
		Sockets:      launch.UnixSockets, // its API and the streams of its vsock
		MaxOpenFiles: maxOpenFiles,
	}
	vmm.Confine(&spec, s)
	spec.Access.Write = append(spec.Access.Write, dir.path)
	child, err := launch.Start(d.config.Launcher, spec)
	if err != nil {
		return nil, err
	}
	m := &machine{
		child: child, dir: dir, disks: disks, keys: keysW,
		log:  program.NewTail(logKept),
		done: make(chan struct{}), halted: make(chan struct{}, 1),
	}
	m.console = program.NewOutput(&haltWatch{ReadCloser: consoleR, halted: m.sawHalt})
	m.carrier = channel.NewHybridCarrier(hellos, func(ctx context.Context) (*net.UnixConn, error) {
		if h := m.vsock.Load(); h != nil {
			return h.Dial(ctx)
		}
		return nil, errors.New("the guest was not started")
	}, func() { os.Remove(helloPath) })
	go m.watch(logR) // ends with Firecracker
	return m, nil
}
