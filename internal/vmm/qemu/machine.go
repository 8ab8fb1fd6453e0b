package qemu

import (
	"context"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"banger/internal/channel"
	"banger/internal/launch"
	"banger/internal/vm"
	"banger/internal/vmm"
	"banger/internal/vmm/program"
)

// drainLimit bounds the wait for what QEMU said before its end; its ends of all
// pipes are closed by then, so it is only a guard.
const drainLimit = time.Second

// machine is a running QEMU.
type machine struct {
	child   *launch.Child
	qmp     *qmp
	console *program.Output
	keys    vmm.Keys // console's other direction
	carrier *channel.SerialCarrier
	stderr  *program.Tail
	guest   lastDeed
	disks   vmm.Disks
	gaps    []string
	events  vmm.Events
	nodes   map[string]string // disks' paths by their names in QMP

	// Of QMP's reader: which of the channel's ports the guest has open, and whether
	// it closed one since.
	open map[string]bool
	gone bool

	exit vmm.Exit      // written before done is closed
	done chan struct{} // closed by watch

	close sync.Once
}

// watch waits for QEMU's end and for its last words.
func (m *machine) watch(stderr *os.File) {
	drained := make(chan struct{})
	go func() { // ends with QEMU, or by the deadline below
		io.Copy(m.stderr, stderr)
		close(drained)
	}()
	<-m.child.Done()
	at := time.Now().UTC()
	limit := time.Now().Add(drainLimit)
	stderr.SetReadDeadline(limit)
	m.qmp.conn.SetReadDeadline(limit)
	<-drained
	<-m.qmp.done
	stderr.Close()
	m.exit = vmm.Exit{At: at, Code: m.child.State().ExitCode(), Guest: m.guest.get(), Stderr: m.stderr.String()}
	if ws, ok := m.child.State().Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		m.exit.Signal = int(ws.Signal())
	}
	m.disks.Release()
	close(m.done)
}

func (m *machine) Process() vm.Process        { return m.child.Process() }
func (m *machine) Carrier() channel.Carrier   { return m.carrier }
func (m *machine) Gaps() []string             { return m.gaps }
func (m *machine) Console() io.Reader         { return m.console }
func (m *machine) Keys() vmm.Keys             { return m.keys }
func (m *machine) Done() <-chan struct{}      { return m.done }
func (m *machine) Exit() vmm.Exit             { return m.exit }
func (m *machine) Signal(sig os.Signal) error { return m.child.Signal(sig) }

func (m *machine) Events() <-chan vmm.Event { return m.events }

// Continue implements vmm.Continuer.
func (m *machine) Continue(ctx context.Context) error { return m.qmp.execute(ctx, "cont", nil) }

// Answers implements vmm.Asker.
func (m *machine) Answers(ctx context.Context) error { return m.qmp.execute(ctx, "query-status", nil) }

// Grow implements vmm.Grower.
func (m *machine) Grow(ctx context.Context, disk int, bytes int64) error {
	return m.qmp.execute(ctx, "block_resize", map[string]any{"node-name": nodeName(disk), "size": bytes})
}

func (m *machine) Close() error {
	m.child.Signal(os.Kill) // an error says that it is gone
	<-m.done
	m.close.Do(func() {
		m.carrier.Close()
		m.console.Abandon()
	})
	return nil
}
