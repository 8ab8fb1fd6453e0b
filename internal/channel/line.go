package channel

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// Limits of a connection over one serial port.
const (
	// maxFrame is the largest HTTP/2 frame either end reads, in bytes: as large
	// as package exec's bulk frames with their headers, so that none is cut in two.
	maxFrame = 257 << 10
	// maxStreams is how many streams may be open at once on a port.
	maxStreams = 64
	// streamWindow is what may lie unread in one stream, in bytes.
	streamWindow = 1 << 20
	// connWindow lets every stream fill its window while another one opens:
	// stalled streams never stop the rest.
	connWindow = (maxStreams + 2) * streamWindow
	// readAhead is what a virtio-serial port gives in one read (PAGE_SIZE in
	// drivers/char/virtio_console.c), in bytes; larger reads pass it by.
	readAhead = 4 << 10
)

// Line is a byte pipe whose reads and writes can be given up: a Unix socket on
// the host, a virtio port in the guest.
type Line interface {
	io.ReadWriteCloser
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

// lease is a connection's hold on a line. Its Close gives the line back and
// leaves it open; no byte is read or written through it after that.
type lease struct {
	line  Line
	in    *bufio.Reader // of line, whose leases share it one after the other
	read  sync.Mutex    // held while reading, so that Close can wait for it
	write sync.Mutex

	mu     sync.Mutex
	closed bool
	done   chan struct{} // closed by Close
}

func newLease(l Line, in *bufio.Reader) *lease {
	l.SetReadDeadline(time.Time{})
	l.SetWriteDeadline(time.Time{})
	return &lease{line: l, in: in, done: make(chan struct{})}
}

func (l *lease) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

func (l *lease) Read(p []byte) (int, error) {
	l.read.Lock()
	defer l.read.Unlock()
	if l.isClosed() {
		return 0, net.ErrClosed
	}
	return l.in.Read(p)
}

// skipTo reads up to and with want's first occurrence.
func (l *lease) skipTo(want []byte) error {
	l.read.Lock()
	defer l.read.Unlock()
	if l.isClosed() {
		return net.ErrClosed
	}
	return skipTo(l.in, want)
}

func (l *lease) Write(p []byte) (int, error) {
	l.write.Lock()
	defer l.write.Unlock()
	if l.isClosed() {
		return 0, net.ErrClosed
	}
	return l.line.Write(p)
}

// Close ends reads and writes under way and waits for them.
func (l *lease) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	l.mu.Unlock()
	past := time.Unix(1, 0)
	l.line.SetReadDeadline(past)
	l.line.SetWriteDeadline(past)
	l.read.Lock()
	defer l.read.Unlock()
	l.write.Lock()
	defer l.write.Unlock()
	l.line.SetReadDeadline(time.Time{})
	l.line.SetWriteDeadline(time.Time{})
	close(l.done)
	return nil
}

// opaque hides what a stream's read ended with. An HTTP/2 connection inside the
// stream, as package control's, would take a reset of the stream for one of a
// stream of its own, and read on: the agent spun for 50 to 150 ms of an emulated
// guest's time after each call of its control service.
func opaque(err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return fmt.Errorf("read a stream: %w", err)
}

// The rest of net.Conn. net/http sets no deadline here, as no timeout is
// configured; the line's are the lease's own.
func (l *lease) LocalAddr() net.Addr                { return serialAddr{} }
func (l *lease) RemoteAddr() net.Addr               { return serialAddr{} }
func (l *lease) SetDeadline(t time.Time) error      { return os.ErrNoDeadline }
func (l *lease) SetReadDeadline(t time.Time) error  { return os.ErrNoDeadline }
func (l *lease) SetWriteDeadline(t time.Time) error { return os.ErrNoDeadline }

type serialAddr struct{}

func (serialAddr) Network() string { return "virtio-serial" }
func (serialAddr) String() string  { return "guest" }
