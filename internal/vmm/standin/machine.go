package standin

import (
	"bufio"
	"context"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"banger/internal/channel"
	"banger/internal/launch"
	"banger/internal/unixsock"
	"banger/internal/vm"
	"banger/internal/vmm"
	"banger/internal/vmm/program"
)

// drainLimit bounds the wait for the guest's process after its VMM's end: it has
// its commands to end.
const drainLimit = 2 * time.Second

// machine is a running stand-in.
type machine struct {
	child   *launch.Child
	dir     *workDir
	disks   vmm.Disks
	console *program.Output
	carrier *channel.HybridCarrier
	log     *program.Tail
	spec    vmm.Spec
	vsock   *unixsock.Handle // the VMM's socket; set before Launch returns

	mu     sync.Mutex // held while an event is put
	events vmm.Events

	up    chan struct{} // closed when the VMM's socket answers
	guest string        // what the guest did last; for watch

	exit vmm.Exit      // written before done is closed
	done chan struct{} // closed by watch

	close sync.Once
}

// watch waits for the ends of the VMM and of its guest's process, and for their
// last words.
func (m *machine) watch(log, status *os.File) {
	var reading sync.WaitGroup
	reading.Go(func() { io.Copy(m.log, log) }) // both end with the guest, or by the deadlines below
	reading.Go(func() { m.listen(status) })
	<-m.child.Done()
	at := time.Now().UTC()
	log.SetReadDeadline(at.Add(drainLimit))
	status.SetReadDeadline(at.Add(drainLimit))
	reading.Wait()
	log.Close()
	status.Close()
	m.exit = vmm.Exit{At: at, Code: m.child.State().ExitCode(), Stderr: m.log.String()}
	if ws, _ := m.child.State().Sys().(syscall.WaitStatus); ws.Signaled() {
		m.exit.Signal = int(ws.Signal())
	} else if m.exit.Code == 0 {
		m.exit.Guest = m.guest
	}
	m.carrier.Close()
	m.disks.Release()
	close(m.done)
}

// listen reads what the stand-in says on its status.
func (m *machine) listen(status io.Reader) {
	up := sync.OnceFunc(func() { close(m.up) })
	for lines := bufio.NewScanner(status); lines.Scan(); {
		switch lines.Text() {
		case statusUp:
			up()
		case statusHeld:
			m.report(m.held())
		default:
			m.guest = lines.Text()
		}
	}
}

func (m *machine) report(e vmm.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.events.Put(e)
}

// held is the event of a write to the first disk that the host did not take.
func (m *machine) held() vmm.Event {
	e := vmm.Event{Kind: vmm.HeldStill, Path: m.spec.Dir, Why: "No space left on device", Full: true}
	if len(m.spec.Disks) > 0 {
		e.Path = m.spec.Disks[0].Path
	}
	return e
}

// Events implements vmm.Reporter.
func (m *machine) Events() <-chan vmm.Event { return m.events }

// Continue implements vmm.Continuer.
func (m *machine) Continue(context.Context) error {
	b, err := load(m.spec.Dir)
	switch {
	case err != nil:
		return err
	case b.DiskFull:
		m.report(m.held())
	default:
		m.report(vmm.Event{Kind: vmm.GoesOn})
	}
	return nil
}

// Grow implements vmm.Grower: no guest looks at the disk.
func (m *machine) Grow(context.Context, int, int64) error { return nil }

func (m *machine) Process() vm.Process        { return m.child.Process() }
func (m *machine) Carrier() channel.Carrier   { return m.carrier }
func (m *machine) Gaps() []string             { return m.child.Gaps() }
func (m *machine) Console() io.Reader         { return m.console }
func (m *machine) Done() <-chan struct{}      { return m.done }
func (m *machine) Exit() vmm.Exit             { return m.exit }
func (m *machine) Signal(sig os.Signal) error { return m.child.Signal(sig) }

func (m *machine) Close() (err error) {
	m.child.Signal(os.Kill) // an error says that it is gone
	<-m.done
	m.close.Do(func() {
		m.console.Abandon()
		if m.vsock != nil { // nil if the launch failed
			m.vsock.Close()
		}
		err = m.dir.remove()
	})
	return err
}
