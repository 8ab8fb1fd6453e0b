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

// Join copies between f and c until both ways have ended, and closes both. An end is
// passed on as an end, of that way alone; anything else as a reset, which neither end
// takes for all. If this process dies meanwhile, c's peer gets a reset too. It returns how many
// bytes went each way.
func Join(f *Flow, c Conn) (toFlow, toConn int64) {
	linger(c, 0)
	var copying sync.WaitGroup
	var connErr error
	copying.Go(func() { // ends with f, or c
		toConn, connErr = f.WriteTo(c)
		if connErr == nil {
			connErr = c.CloseWrite()
		}
		if connErr != nil {
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
	if err == nil && connErr == nil {
		linger(c, -1) // what c has not sent yet goes on
	}
	c.Close()
	return toFlow, toConn
}

// cut ends both so that no end looks like one.
func cut(f *Flow, c Conn) {
	f.Reset()
	linger(c, 0)
	c.Close()
}

// linger says how c's socket is closed (SO_LINGER in socket(7)): 0 is by a reset, -1 in order.
func linger(c Conn, sec int) {
	if l, ok := c.(interface{ SetLinger(int) error }); ok {
		l.SetLinger(sec)
	}
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
// buffer when there is something to read: a connection that is silent has none.
func readSome(f *Flow, c io.Reader, raw syscall.RawConn) (n int, err error) {
	var b *buffer
	if raw == nil {
		b = buffers.Get().(*buffer)
		if n, err = c.Read(b[:]); n > 0 || errors.Is(err, io.EOF) {
			err = nil
		}
		return pass(f, b, n, err)
	}
	rerr := raw.Read(func(fd uintptr) bool {
		b = buffers.Get().(*buffer)
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
	switch {
	case b == nil:
		return 0, rerr
	case rerr != nil:
		err = rerr
	case err != nil:
		err = os.NewSyscallError("read", err)
	}
	return pass(f, b, max(n, 0), err)
}

// pass writes to f the first n bytes of b, which it gives back or away.
func pass(f *Flow, b *buffer, n int, err error) (int, error) {
	kept := false
	if err == nil && n > 0 {
		_, kept, err = f.write(b[:n], b)
	}
	if !kept {
		buffers.Put(b)
	}
	return n, err
}
