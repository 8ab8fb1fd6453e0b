package supervisor

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"banger/internal/fault"
	"banger/internal/network/egress"
)

const (
	// NetworkLogFile has what was denied, an egress.Event a line; the one before it ends
	// with ".1".
	NetworkLogFile = "network.log"
	maxNetworkLog  = 1 << 20 // bytes
	// sameLimit is for how long the same event is counted before it is written again.
	sameLimit = 2 * time.Second
)

// networkLog writes what was denied. Events that follow each other and are the same are
// counted.
type networkLog struct {
	path string

	mu      sync.Mutex
	size    int64
	last    egress.Event
	waiting int // of last, not yet written
	flush   *time.Timer
	closed  bool
}

func openNetworkLog(dir string) *networkLog {
	l := &networkLog{path: filepath.Join(dir, NetworkLogFile)}
	if fi, err := os.Stat(l.path); err == nil {
		l.size = fi.Size()
	}
	return l
}

// add takes an event, and reports whether it is another one than the last.
func (l *networkLog) add(e egress.Event) (other bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	count := max(e.Count, 1)
	if l.flush != nil && e.Same(l.last) {
		l.last.Time = e.Time
		l.waiting += count
		return false
	}
	l.write()
	l.last, l.waiting = e, count
	l.write()
	if l.flush != nil {
		l.flush.Stop()
	}
	l.flush = time.AfterFunc(sameLimit, l.tick)
	return true
}

// tick writes what was counted. When nothing was, the same event is another one again.
func (l *networkLog) tick() {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed || l.flush == nil:
	case l.waiting == 0:
		l.flush = nil
	default:
		l.write()
		l.flush.Reset(sameLimit)
	}
}

// Flush writes what was counted, for a reader.
func (l *networkLog) Flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.write()
	}
}

// write writes what waits. The mutex is held. A log that can't be written loses lines: a VM
// does not end for that.
func (l *networkLog) write() {
	if l.waiting == 0 {
		return
	}
	e := l.last
	e.Count, l.waiting = l.waiting, 0
	line, err := json.Marshal(e)
	if err != nil {
		return
	}
	line = append(line, '\n')
	if l.size+int64(len(line)) > maxNetworkLog {
		fault.Do("network.log", func() error { return os.Rename(l.path, l.path+olderSuffix) })
		l.size = 0
	}
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return
	}
	defer f.Close()
	n, _ := f.Write(line)
	l.size += int64(n)
}

// Close writes what waits; what comes later is lost.
func (l *networkLog) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write()
	if l.flush != nil {
		l.flush.Stop()
	}
	l.closed = true
}

// CopyOlderNetworkLog writes what the log in a VM's directory had before it was begun
// anew; none is empty.
func CopyOlderNetworkLog(w io.Writer, dir string) error {
	return copyFile(w, filepath.Join(dir, NetworkLogFile+olderSuffix))
}
