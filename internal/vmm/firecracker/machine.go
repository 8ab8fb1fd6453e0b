package firecracker

import (
	"context"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"banger/internal/channel"
	"banger/internal/launch"
	"banger/internal/unixsock"
	"banger/internal/vm"
	"banger/internal/vmm"
	"banger/internal/vmm/program"
)

// drainLimit bounds the wait for what Firecracker said before its end; its end
// of the pipe is closed by then, so it is only a guard.
const drainLimit = time.Second

// answerLimit is how long a guest that said that it halted may take to show
// that it did not. Any guest answers in milliseconds.
const answerLimit = time.Second

// machine is a running Firecracker.
type machine struct {
	child   *launch.Child
	dir     *workDir
	disks   vmm.Disks
	console *program.Output
	keys    *os.File // Firecracker's stdin, which is the serial console's input
	carrier *channel.HybridCarrier
	log     *program.Tail
	halted  chan struct{} // has room for one: the console said so

	// The VMM's sockets, by descriptor: cleaners of old files may take the directory
	// away. Both are open once Launch has returned.
	api   *unixsock.Handle
	vsock atomic.Pointer[unixsock.Handle]

	exit vmm.Exit      // written before done is closed
	done chan struct{} // closed by watch

	close sync.Once
}

// watch waits for Firecracker's end, which it brings about where the guest has
// halted, and for its last words.
func (m *machine) watch(log *os.File) {
	drained := make(chan struct{})
	go func() { // ends with Firecracker, or by the deadline below
		io.Copy(m.log, log)
		close(drained)
	}()
	off := m.awaitEnd()
	at := time.Now().UTC()
	log.SetReadDeadline(at.Add(drainLimit))
	<-drained
	log.Close()
	m.exit = vmm.Exit{At: at, Code: m.child.State().ExitCode(), Stderr: plain(m.log.String())}
	ws, _ := m.child.State().Sys().(syscall.WaitStatus)
	switch {
	case off:
		// Ended on the guest's behalf.
		m.exit.Code, m.exit.Guest = 0, "shutdown"
	case ws.Signaled():
		m.exit.Signal = int(ws.Signal())
	case m.exit.Code == 0:
		// Nobody else can make it end well.
		m.exit.Guest = "reset"
	}
	m.carrier.Close()
	m.disks.Release()
	close(m.done)
}

// awaitEnd waits for Firecracker's end and reports whether the guest had powered
// itself off: on x86 that halts the CPUs and leaves Firecracker running.
func (m *machine) awaitEnd() (off bool) {
	for {
		select {
		case <-m.child.Done():
			return off
		case <-m.halted:
			if !off && !m.answers() {
				off = true
				m.child.Signal(os.Kill) // an error says that it is gone
			}
		}
	}
}

// answers reports whether the guest's agent still does: the console's words can
// be anybody's in the guest.
func (m *machine) answers() bool {
	ctx, cancel := context.WithTimeout(context.Background(), answerLimit)
	defer cancel()
	s, err := m.carrier.Dial(ctx, channel.PortControl)
	if err != nil {
		return false
	}
	s.Close()
	return true
}

// sawHalt is called by the console's reader.
func (m *machine) sawHalt() {
	select {
	case m.halted <- struct{}{}:
	default: // it is being looked into
	}
}

func (m *machine) Process() vm.Process        { return m.child.Process() }
func (m *machine) Carrier() channel.Carrier   { return m.carrier }
func (m *machine) Gaps() []string             { return m.child.Gaps() }
func (m *machine) Console() io.Reader         { return m.console }
func (m *machine) Keys() vmm.Keys             { return m.keys }
func (m *machine) Done() <-chan struct{}      { return m.done }
func (m *machine) Exit() vmm.Exit             { return m.exit }
func (m *machine) Signal(sig os.Signal) error { return m.child.Signal(sig) }

// Answers implements vmm.Asker: it asks the API for what it says of the instance.
// Only silence counts: whatever it answers, it acts.
func (m *machine) Answers(ctx context.Context) error {
	if m.apiAnswers(ctx) != nil {
		return ctx.Err()
	}
	return nil
}

// Grow implements vmm.Grower. Firecracker looks at the file's size when it is told the
// path once more.
func (m *machine) Grow(ctx context.Context, disk int, _ int64) error {
	api := newClient(m.api)
	defer api.close()
	name := diskName(disk)
	return api.send(ctx, http.MethodPatch, "/drives/"+name, drivePath{name, name})
}

func (m *machine) apiAnswers(ctx context.Context) error {
	api := newClient(m.api)
	defer api.close()
	return api.get(ctx, "/")
}

// holdVsock takes hold of the socket of the machine's vsock, which is there from
// its configuration on.
func (m *machine) holdVsock() error {
	h, err := unixsock.Hold(m.dir.file(fileVsock))
	if err == nil {
		m.vsock.Store(h)
	}
	return err
}

func (m *machine) Close() (err error) {
	m.child.Signal(os.Kill) // an error says that it is gone
	<-m.done
	m.close.Do(func() {
		m.console.Abandon()
		m.keys.Close()
		if m.api != nil { // nil if the launch failed
			m.api.Close()
		}
		if h := m.vsock.Load(); h != nil {
			h.Close()
		}
		err = m.dir.remove()
	})
	return err
}
