package supervisor

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"

	"banger/internal/fault"
	"banger/internal/paths"
)

// ConsoleLimit bounds a VM's console log on disk, in bytes. The oldest half is
// dropped when the newer half is full.
const ConsoleLimit = 8 << 20

const (
	olderSuffix = ".1"
	tailLimit   = 64 << 10
)

// consoleLog is a guest's serial console in two files of half of ConsoleLimit
// each. One goroutine writes; readers follow it.
type consoleLog struct {
	path string

	mu      sync.Mutex
	file    *os.File
	size    int64
	tail    []byte        // the last bytes of this run
	changed chan struct{} // closed and replaced at every write
	closed  bool
	lost    int64 // bytes that the disk did not take
}

func openConsoleLog(path string) (*consoleLog, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &consoleLog{path: path, file: f, size: fi.Size(), changed: make(chan struct{})}, nil
}

// Write keeps p. It never fails: a full disk costs the log its bytes, not the
// guest its console.
func (l *consoleLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tail = append(l.tail, p...)
	if over := len(l.tail) - tailLimit; over > 0 {
		l.tail = append(l.tail[:0], l.tail[over:]...)
	}
	if l.size+int64(len(p)) > ConsoleLimit/2 {
		l.rotate()
	}
	n, err := l.file.Write(p)
	l.size += int64(n)
	if err != nil {
		l.lost += int64(len(p) - n)
	}
	close(l.changed)
	l.changed = make(chan struct{})
	return len(p), nil
}

// rotate makes the current file the older one. If that fails, the current file
// is emptied: the bound holds.
func (l *consoleLog) rotate() {
	err := fault.Do("console.rotate", func() error { return os.Rename(l.path, l.path+olderSuffix) })
	if err != nil {
		l.file.Truncate(0)
		l.size = 0
		return
	}
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		l.file.Truncate(0)
		l.size = 0
		return
	}
	l.file.Close()
	l.file, l.size = f, 0
}

func (l *consoleLog) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	close(l.changed)
	return l.file.Close()
}

// Tail returns this run's last bytes, at most 64 KiB.
func (l *consoleLog) Tail() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.tail)
}

func (l *consoleLog) state() (changed chan struct{}, closed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed, l.closed
}

// Follow writes all that is kept, or with fromNow nothing of it, and then what
// comes, until the log is closed, w fails or ctx ends. A reader slower than half
// the limit misses bytes.
func (l *consoleLog) Follow(ctx context.Context, w io.Writer, fromNow bool) error {
	if !fromNow {
		if err := copyFile(w, l.path+olderSuffix); err != nil {
			return err
		}
	}
	f, err := l.open(fromNow)
	if err != nil {
		return err
	}
	return l.follow(ctx, w, f)
}

// open opens what is kept, at its beginning or, with fromNow, its end.
func (l *consoleLog) open(fromNow bool) (*os.File, error) {
	f, err := os.Open(l.path)
	if err == nil && fromNow {
		if _, err = f.Seek(0, io.SeekEnd); err != nil {
			f.Close()
		}
	}
	return f, err
}

// follow writes what comes after f's place, as Follow does; it closes f.
func (l *consoleLog) follow(ctx context.Context, w io.Writer, f *os.File) error {
	defer func() { f.Close() }()
	changed, closed := l.state()
	for {
		if _, err := io.Copy(w, f); err != nil {
			return err
		}
		if moved, err := os.Open(l.path); err == nil {
			a, errA := f.Stat()
			b, errB := moved.Stat()
			if errA == nil && errB == nil && !os.SameFile(a, b) {
				// Rotated: what was written to the old file before that first.
				_, err := io.Copy(w, f)
				f.Close()
				f = moved
				if err != nil {
					return err
				}
				continue
			}
			moved.Close()
		}
		if closed {
			return nil
		}
		select {
		case <-changed:
			changed, closed = l.state()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// CopyConsole writes the console log that a VM's directory keeps; none is
// empty.
func CopyConsole(w io.Writer, dir string) error {
	path := dir + "/" + paths.ConsoleFile
	return errors.Join(copyFile(w, path+olderSuffix), copyFile(w, path))
}

func copyFile(w io.Writer, path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

// Limits of the console's lines in an error.
const (
	maxLines   = 20
	maxLineLen = 200
)

// lastLines returns the last lines of raw console bytes, escaped so that a
// terminal or a log takes them as text.
func lastLines(raw []byte) []string {
	raw = bytes.ReplaceAll(raw, []byte("\r"), nil)
	lines := strings.Split(strings.TrimRight(string(raw), "\n"), "\n")
	if len(lines) > maxLines {
		lines = lines[len(lines)-maxLines:]
	}
	var out []string
	for _, s := range lines {
		if s == "" {
			continue
		}
		out = append(out, escape(s))
	}
	return out
}

// escape bounds a line of the guest's and makes it safe for a terminal or a log.
func escape(s string) string {
	if len(s) > maxLineLen {
		s = s[:maxLineLen] + "…"
	}
	q := strconv.QuoteToGraphic(s)
	return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
}
