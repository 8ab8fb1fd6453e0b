package agent

import (
	"context"
	"errors"
	"os"
	"regexp"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/channel/control"
)

// kernelLog gives a record of the kernel's a read
// (Documentation/ABI/testing/dev-kmsg).
const kernelLog = "/dev/kmsg"

// killed is what the kernel says when it has killed a process because the whole
// guest had no memory left (mm/oom_kill.c); at a group's own limit it says "Memory
// cgroup out of memory". The number at the front has the facility above its three
// lowest bits: what a process writes there never has the kernel's, 0.
var killed = regexp.MustCompile(`^[0-7],[^;]*;Out of memory: Killed process [0-9]+ \((.*)\) total-vm:`)

// memory keeps what the kernel last killed for want of memory.
type memory struct {
	mu      sync.Mutex
	count   int64
	at      time.Time // monotonic
	process string
	changed chan struct{} // closed and replaced when the rest changes
}

func newMemory() *memory { return &memory{changed: make(chan struct{})} }

// watchKernel reads the kernel's log from its end now, and gives each record to hear. It
// returns only on an error.
func watchKernel(hear func(record []byte)) error {
	f, err := os.Open(kernelLog)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Seek(0, unix.SEEK_END); err != nil {
		return err
	}
	record := make([]byte, 8<<10) // the kernel's longest
	for {
		n, err := f.Read(record)
		switch {
		case errors.Is(err, unix.EPIPE): // the next records were overwritten
		case err != nil:
			return err
		default:
			hear(record[:n])
		}
	}
}

func (m *memory) hear(record []byte) {
	found := killed.FindSubmatch(record)
	if found == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.count++
	m.at, m.process = time.Now(), string(found[1])
	close(m.changed)
	m.changed = make(chan struct{})
}

// last returns the last kill, and a channel that is closed at the next one.
func (m *memory) last() (control.Event, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.count == 0 {
		return control.Event{}, m.changed
	}
	return control.Event{OutOfMemory: &control.OutOfMemory{
		Kills: m.count, AgoMillis: time.Since(m.at).Milliseconds(), Process: m.process,
	}}, m.changed
}

// Events implements control.Service. The first event may say nothing: it tells that
// this agent answers.
func (a *agent) Events(ctx context.Context, each func(control.Event)) error {
	e, killed := a.memory.last()
	var stirred <-chan struct{}
	e.Disk, stirred = a.disk.last()
	ports := watchPorts(ctx, a.diag)
	for {
		each(e)
		e = control.Event{}
		select {
		case <-killed:
			e, killed = a.memory.last()
		case <-stirred:
			e.Disk, stirred = a.disk.last()
		case e.Ports = <-ports:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
