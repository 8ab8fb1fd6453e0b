package channel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// HybridCarrier is a Carrier over hybrid vsock (Firecracker, docs/vsock.md):
// the guest has virtio-vsock, the host Unix sockets. The host opens a stream
// by saying "CONNECT PORT" on the VMM's socket; a stream that the guest opens
// comes to a socket of the host's, which is gone after the one hello: on vsock
// any process in the guest could say another one.
//
// Every stream has flow control of its own, so a stalled one stops no other.
type HybridCarrier struct {
	dial   func(context.Context) (*net.UnixConn, error)
	places chan struct{} // a token a stream

	said  chan struct{} // closed when hello or err is there
	hello Hello
	err   error

	mu      sync.Mutex
	closed  bool
	waiting io.Closer // what Hello's reader waits on; nil after the hello
	streams map[*hybridStream]struct{}
}

// NewHybridCarrier takes over hellos, the listener for the guest's port
// PortHello, and calls heard once it is closed, whatever became of the hello.
// dial connects to the VMM's socket. The VMM must be launched after the call.
func NewHybridCarrier(hellos net.Listener, dial func(context.Context) (*net.UnixConn, error), heard func()) *HybridCarrier {
	c := &HybridCarrier{
		dial: dial, places: make(chan struct{}, maxStreams), said: make(chan struct{}),
		waiting: hellos, streams: map[*hybridStream]struct{}{},
	}
	go func() { // ends with the hello or Close
		c.hello, c.err = c.hear(hellos)
		hellos.Close()
		heard()
		close(c.said)
	}()
	return c
}

// hear takes the one hello.
func (c *HybridCarrier) hear(hellos net.Listener) (Hello, error) {
	conn, err := hellos.Accept()
	if err != nil {
		return Hello{}, err
	}
	defer conn.Close()
	hellos.Close()
	c.mu.Lock()
	c.waiting = conn
	closed := c.closed
	c.mu.Unlock()
	if closed {
		return Hello{}, net.ErrClosed
	}
	text, err := io.ReadAll(io.LimitReader(conn, MaxHello+1))
	c.mu.Lock()
	c.waiting = nil
	c.mu.Unlock()
	if err != nil {
		return Hello{}, err
	}
	return parseHello(text)
}

// Hello implements Carrier.
func (c *HybridCarrier) Hello(ctx context.Context) (Hello, error) {
	select {
	case <-c.said:
		return c.hello, c.err
	case <-ctx.Done():
		return Hello{}, ctx.Err()
	}
}

// maxAnswer bounds the VMM's answer to CONNECT: "OK 4294967295\n".
const maxAnswer = 14

// requestLimit is how long the VMM gives the guest for its answer to a CONNECT (Firecracker's
// CONN_REQUEST_TIMEOUT_MS), with a margin for what both clocks count: then it closes the connection,
// as it does at once where nothing listens.
const requestLimit = 1900 * time.Millisecond

// errLate says that the guest has not answered in that time. It is slow, or stands still.
var errLate = errors.New("the guest does not answer in the VMM's time")

// Dial implements Carrier. A guest that does not answer in the VMM's time is asked again until ctx
// ends.
func (c *HybridCarrier) Dial(ctx context.Context, port uint32) (Stream, error) {
	for {
		s, err := c.dialOnce(ctx, port)
		if !errors.Is(err, errLate) || ctx.Err() != nil {
			return s, err
		}
	}
}

func (c *HybridCarrier) dialOnce(ctx context.Context, port uint32) (Stream, error) {
	select {
	case c.places <- struct{}{}:
	default:
		return nil, TooManyError{}
	}
	conn, err := c.dial(ctx)
	if err != nil {
		<-c.places
		return nil, err
	}
	// From here on the place is given back by whoever forgets the stream: Drop may.
	s := &hybridStream{UnixConn: conn, c: c}
	c.mu.Lock()
	closed := c.closed
	c.streams[s] = struct{}{}
	c.mu.Unlock()
	if closed {
		err = net.ErrClosed
	} else {
		stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
		err = ask(conn, port)
		if !stop() {
			err = errors.Join(ctx.Err(), err)
		}
	}
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("open a stream to the guest's port %d: %w", port, err)
	}
	return s, nil
}

// ask says CONNECT and reads the answer, not a byte more.
func ask(conn net.Conn, port uint32) error {
	begin := time.Now()
	if _, err := fmt.Fprintf(conn, "CONNECT %d\n", port); err != nil {
		return err
	}
	var answer []byte
	for one := make([]byte, 1); len(answer) < maxAnswer; {
		if _, err := io.ReadFull(conn, one); err != nil {
			switch {
			case errors.Is(err, io.EOF) && time.Since(begin) >= requestLimit:
				return errLate
			case errors.Is(err, io.EOF):
				return errors.New("the guest does not answer there")
			}
			return err
		}
		if one[0] == '\n' {
			break
		}
		answer = append(answer, one[0])
	}
	if !strings.HasPrefix(string(answer), "OK ") {
		return fmt.Errorf("the VMM answers %q", answer)
	}
	return nil
}

func (c *HybridCarrier) forget(s *hybridStream) (known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, known = c.streams[s]
	delete(c.streams, s)
	return known
}

// Drop implements Carrier.
func (c *HybridCarrier) Drop() {
	c.mu.Lock()
	var open []*hybridStream
	for s := range c.streams {
		open = append(open, s)
	}
	c.mu.Unlock()
	for _, s := range open {
		s.Close()
	}
}

// Close implements Carrier.
func (c *HybridCarrier) Close() error {
	c.mu.Lock()
	c.closed = true
	if c.waiting != nil {
		c.waiting.Close()
	}
	c.mu.Unlock()
	c.Drop()
	<-c.said
	return nil
}

// hybridStream is the host's end of a stream. Its CloseWrite ends the whole
// stream a moment later: the VMM tells the guest that neither half goes on.
type hybridStream struct {
	*net.UnixConn
	c *HybridCarrier
}

func (s *hybridStream) Close() error {
	if s.c.forget(s) {
		<-s.c.places
	}
	return s.UnixConn.Close()
}
