package flow

import (
	"errors"
	"io"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Conn is what a flow is joined with: a TCP connection, or one that has its writing
// end as it has. SetLinger, where there is one, lets its Close send a reset.
type Conn interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// buffers hold what was read from a connection and not yet written to its flow: a
// connection that is silent has none.
var buffers = sync.Pool{New: func() any { return new([maxData]byte) }}

// Join copies between f and c until both ways have ended, and closes both. An end is
// passed on as an end, of that way alone; anything else as a reset, which neither end
// takes for all. It returns how many bytes went each way.
func Join(f *Flow, c Conn) (toFlow, toConn int64) {
	var copying sync.WaitGroup
	copying.Go(func() { // ends with f, or c
		var err error
		toConn, err = f.WriteTo(c)
		if err == nil {
			err = c.CloseWrite()
		}
		if err != nil {
			cut(f, c)
		}
	})
	toFlow, err := readFrom(f, c)
	if err == nil {
		err = f.CloseWrite()
	}
	if err != nil {
		cut(f, c)
	}
	copying.Wait()
	f.Close()
	c.Close()
	return toFlow, toConn
}

// cut ends both so that no end looks like one.
func cut(f *Flow, c Conn) {
	f.Reset()
	if l, ok := c.(interface{ SetLinger(int) error }); ok {
		l.SetLinger(0)
	}
	c.Close()
}

func readFrom(f *Flow, c Conn) (n int64, err error) {
	var raw syscall.RawConn
	if sc, ok := c.(syscall.Conn); ok {
		raw, _ = sc.SyscallConn()
	}
	for {
		m, err := readSome(f, c, raw)
		n += int64(m)
		if err != nil || m == 0 {
			return n, err
		}
	}
}

// readSome reads once and writes what it has read to f: 0 bytes are c's end. It takes a
// buffer when there is something to read.
func readSome(f *Flow, c io.Reader, raw syscall.RawConn) (n int, err error) {
	if raw == nil {
		b := buffers.Get().(*[maxData]byte)
		defer buffers.Put(b)
		if n, err = c.Read(b[:]); n > 0 {
			_, err = f.Write(b[:n])
		} else if errors.Is(err, io.EOF) {
			err = nil
		}
		return n, err
	}
	var b *[maxData]byte
	rerr := raw.Read(func(fd uintptr) bool {
		b = buffers.Get().(*[maxData]byte)
		for {
			if n, err = unix.Read(int(fd), b[:]); err != unix.EINTR {
				break
			}
		}
		if err == unix.EAGAIN {
			buffers.Put(b)
			b = nil
			return false
		}
		return true
	})
	if b != nil {
		defer buffers.Put(b)
	}
	switch {
	case rerr != nil:
		return 0, rerr
	case err != nil:
		return 0, os.NewSyscallError("read", err)
	case n > 0:
		_, err = f.Write(b[:n])
	}
	return max(n, 0), err
}
