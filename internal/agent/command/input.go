package command

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"banger/internal/channel/exec"
)

const (
	// piece is how much input one write has at most, in bytes: so often it is seen
	// how much the process took.
	piece = 64 << 10
	// unsaid is how much the process may have taken that the host was not told of.
	unsaid = exec.Window / 2
)

// input is what the host sent and the process has not read: the stream's reader
// never waits for the process, if the host holds input back.
type input struct {
	mu     sync.Mutex
	moved  sync.Cond
	bytes  []byte
	ended  bool // no more comes
	closed bool // nobody takes more
}

func newInput() *input {
	q := &input{}
	q.moved.L = &q.mu
	return q
}

// add takes a copy of b. It waits while there is a window of input already, which
// only a host brings about that does not hold it back.
func (q *input) add(b []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.bytes) > exec.Window && !q.closed {
		q.moved.Wait()
	}
	if !q.ended && !q.closed {
		q.bytes = append(q.bytes, b...)
		q.moved.Broadcast()
	}
}

// end says that no more comes.
func (q *input) end() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ended = true
	q.moved.Broadcast()
}

// close drops what there is; add and take return at once from here on.
func (q *input) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.bytes, q.closed = nil, true
	q.moved.Broadcast()
}

// take waits for input and returns all that there is, for which it takes used over;
// nothing is the end.
func (q *input) take(used []byte) []byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.bytes) == 0 && !q.ended && !q.closed {
		q.moved.Wait()
	}
	b := q.bytes
	q.bytes = used[:0]
	q.moved.Broadcast()
	return b
}

// closeInput ends the process's input, after last.
func (p *process) closeInput(last byte) {
	if p.tty {
		typeEnd(p.stdin, last)
		return
	}
	p.stdin.Close()
}

// typeEnd types the end of input on a terminal (termios(3), VEOF). After a line
// that is not at its end, the first one only lets the reader have that.
func typeEnd(master *os.File, last byte) {
	times := 1
	if last != '\n' && last != '\r' {
		times = 2
	}
	eof := byte(4)
	if raw, err := master.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) {
			if t, err := unix.IoctlGetTermios(int(fd), unix.TCGETS); err == nil {
				eof = t.Cc[unix.VEOF]
				if t.Lflag&unix.ICANON == 0 {
					times = 1
				}
			}
		})
	}
	for range times {
		master.Write([]byte{eof})
	}
}
