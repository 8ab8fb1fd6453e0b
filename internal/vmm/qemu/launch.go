package qemu

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/channel"
	"banger/internal/hint"
	"banger/internal/launch"
	"banger/internal/vmm"
	"banger/internal/vmm/program"
)

// stderrKept is how much of QEMU's own words is kept, in bytes.
const stderrKept = 4 << 10

// endLimit is how long a QEMU may take to end after it hung up its monitor.
const endLimit = 2 * time.Second

// Launch implements vmm.Driver. QEMU answers 0.1 to 0.3 s after its start; the
// guest runs by then. QEMU dies with this process.
func (d *Driver) Launch(ctx context.Context, s vmm.Spec) (vmm.Machine, error) {
	p := s.Found
	if !p.Usable {
		p = d.Probe(ctx)
	}
	if !p.Usable {
		return nil, hint.Missing(fmt.Errorf("launch QEMU: %s", p.Why), "banger doctor says what is missing")
	}
	sandboxed := slices.Contains(p.Features, featureSandbox)
	args, err := arguments(s, p.Accel, sandboxed)
	if err != nil {
		return nil, fmt.Errorf("launch QEMU: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("launch QEMU: %w", err)
	}
	disks, err := vmm.HoldDisks(s.Disks)
	if err != nil {
		return nil, fmt.Errorf("launch QEMU: %w", err)
	}
	m, err := d.start(p.Path, args, s, disks)
	if err != nil {
		disks.Release()
		return nil, fmt.Errorf("launch QEMU: %w", err)
	}
	if !sandboxed {
		m.gaps = append(m.gaps, gapSandbox)
	}
	err = m.qmp.negotiate(ctx)
	if err == nil {
		return m, nil
	}
	// QEMU hangs up a moment before it ends, and why it ended is the better
	// reason. One that stays is ended.
	select {
	case <-m.done:
		err = fmt.Errorf("QEMU ended with %v", m.child.State())
	case <-time.After(endLimit):
	case <-ctx.Done():
		err = ctx.Err()
	}
	m.Close()
	if words := lastWords(m.exit.Stderr, p.Path, args); words != "" && ctx.Err() == nil {
		err = errors.New(words)
	}
	return nil, fmt.Errorf("launch QEMU: %w", err)
}

// start starts QEMU and what watches it, which releases the disks at QEMU's end;
// it returns before QEMU answers.
func (d *Driver) start(path string, args []string, s vmm.Spec, disks vmm.Disks) (_ *machine, err error) {
	var ours [fdEnd - fdQMP]*net.UnixConn
	var theirs [fdEnd - fdQMP]*os.File
	defer func() {
		for i := range theirs {
			if theirs[i] != nil {
				theirs[i].Close()
			}
			if err != nil && ours[i] != nil {
				ours[i].Close()
			}
		}
	}()
	for i := range ours {
		if ours[i], theirs[i], err = socketPair(); err != nil {
			return nil, err
		}
	}
	stderrR, stderrW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer stderrW.Close()
	spec := launch.Spec{
		Path: path, Args: args,
		Files:         theirs[:],
		Stderr:        stderrW,
		NewSession:    true, // a Ctrl-C at the starter's terminal is not for the VMM
		DieWithParent: true,
	}
	gaps := confine(&spec, path, s)
	child, err := launch.Start(d.config.Launcher, spec)
	if err != nil {
		stderrR.Close()
		return nil, err
	}
	m := &machine{
		child:   child,
		console: program.NewOutput(ours[fdConsole-fdQMP]),
		keys:    ours[fdConsole-fdQMP],
		carrier: channel.NewSerialCarrier(ours[fdControl-fdQMP], ours[fdStreams-fdQMP]),
		stderr:  program.NewTail(stderrKept),
		disks:   disks,
		nodes:   map[string]string{},
		open:    map[string]bool{},
		events:  vmm.NewEvents(),
		gaps:    append(gaps, child.Gaps()...),
		done:    make(chan struct{}),
	}
	for i, d := range s.Disks {
		m.nodes[nodeName(i)] = d.Path
	}
	m.qmp = newQMP(ours[0], m.event)
	go m.watch(stderrR) // ends with QEMU
	return m, nil
}

// socketPair returns a connected pair of stream sockets: our end, and the end
// for QEMU.
func socketPair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a socket pair: %w", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "qemu")
	f := os.NewFile(uintptr(fds[0]), "banger")
	defer f.Close() // FileConn has a copy
	c, err := net.FileConn(f)
	if err != nil {
		theirs.Close()
		return nil, nil, fmt.Errorf("use a socket pair: %w", err)
	}
	return c.(*net.UnixConn), theirs, nil
}

// lastWords is QEMU's last error from its stderr, without the program's name and
// the argument that it is about; QEMU's advice, in lines of their own, follows
// it. Warnings are left out.
func lastWords(stderr, path string, args []string) string {
	var words []string
	for line := range strings.Lines(stderr) {
		line = strings.TrimSpace(line)
		line, named := strings.CutPrefix(line, filepath.Base(path)+": ")
		if line == "" || strings.HasPrefix(line, "warning: ") {
			continue
		}
		if named {
			words = nil
		}
		for i := range len(args) - 1 {
			line = strings.TrimPrefix(line, args[i]+" "+args[i+1]+": ")
		}
		words = append(words, strings.TrimPrefix(line, "qemu: "))
	}
	return strings.Join(words[max(0, len(words)-2):], ": ")
}
