package qemu

import (
	"encoding/json"
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
	carrier channel.Carrier
	stderr  *program.Tail
	guest   lastDeed
	disks   vmm.Disks
	gaps    []string

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
func (m *machine) Done() <-chan struct{}      { return m.done }
func (m *machine) Exit() vmm.Exit             { return m.exit }
func (m *machine) Signal(sig os.Signal) error { return m.child.Signal(sig) }

func (m *machine) Close() error {
	m.child.Signal(os.Kill) // an error says that it is gone
	<-m.done
	m.close.Do(func() {
		m.carrier.Close()
		m.console.Abandon()
	})
	return nil
}

// lastDeed remembers what the guest did last, from QMP's events.
type lastDeed struct {
	mu   sync.Mutex
	deed string
}

// deeds are the reasons of a SHUTDOWN event (QAPI, ShutdownCause) that are the
// guest's own doing.
var deeds = map[string]string{
	"guest-reset":    "reset",
	"guest-shutdown": "shutdown",
	"guest-panic":    "panic",
}

func (d *lastDeed) event(name string, data json.RawMessage) {
	var deed string
	switch name {
	case "SHUTDOWN":
		var cause struct {
			Reason string `json:"reason"`
		}
		json.Unmarshal(data, &cause) // what can't be read names no deed
		deed = deeds[cause.Reason]
	case "GUEST_PANICKED":
		deed = "panic"
	}
	if deed == "" {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.deed != "panic" { // the reset after a panic is the panic's
		d.deed = deed
	}
}

func (d *lastDeed) get() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.deed
}
