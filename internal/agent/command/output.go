package command

import (
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/channel/exec"
)

// linger is how long a session waits for more output once its process has ended:
// a child of it may hold the pipe for ever.
const linger = 250 * time.Millisecond

// output is what a process and its children write. What was written before the
// process's end is read to its end; after it, what comes within linger.
type output struct {
	f     *os.File
	tty   bool
	ended bool // the process; seen by the reader, at a deadline
	left  int  // of what was there at the process's end, in bytes
	until time.Time
}

// drain copies a process's output to the client. When that takes no more it goes
// on reading, so that nothing that lives on ends by SIGPIPE, or waits.
func drain(c client, t exec.Type, o *output) {
	if c.copy(t, o) != nil {
		io.Copy(io.Discard, struct{ io.Reader }{o})
	}
}

// processEnded wakes the reader.
func (o *output) processEnded() { o.f.SetReadDeadline(time.Unix(1, 0)) }

// Read implements io.Reader. Whatever error ends it, as a terminal's EIO, is its end.
func (o *output) Read(p []byte) (int, error) {
	n, err := o.f.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) && !o.ended {
		o.ended, o.left, o.until = true, waiting(o.f), time.Now().Add(linger)
		o.extend()
		n, err = o.f.Read(p)
	}
	if err != nil {
		return n, io.EOF
	}
	if o.ended {
		o.left -= n
		if o.tty { // a terminal is hung up with its session's first process: nothing holds it
			o.until = time.Now().Add(linger)
		}
		o.extend()
	}
	return n, nil
}

// extend lets the next read wait as long as it may. What is there needs no wait, but
// a deadline that is over would keep it from being read.
func (o *output) extend() {
	if o.left > 0 {
		o.f.SetReadDeadline(time.Time{})
	} else {
		o.f.SetReadDeadline(o.until)
	}
}

// discard reads what still comes to its end, and closes the file.
func (o *output) discard() {
	defer o.f.Close()
	if o.tty {
		return
	}
	o.f.SetReadDeadline(time.Time{})
	b := make([]byte, 4<<10)
	for {
		if _, err := o.f.Read(b); err != nil {
			return
		}
	}
}

// waiting is how many bytes are there to be read.
func waiting(f *os.File) (n int) {
	if raw, err := f.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	}
	return n
}
