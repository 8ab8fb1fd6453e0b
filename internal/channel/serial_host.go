package channel

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

// Paths of the multiplexer inside a line.
const (
	pathHello = "/hello"
	pathPort  = "/port/"
)

// SerialCarrier is a Carrier over two lines to the guest's virtio-serial
// ports: one for control alone, so that nothing bulky can be in its way, and
// one for all other streams.
type SerialCarrier struct {
	control, streams *host

	mu    sync.Mutex
	hello *Hello
}

// NewSerialCarrier takes both lines over. Nothing is sent before the first
// call of Hello or Dial; bytes wait in the line until the guest opens its port.
func NewSerialCarrier(control, streams Line) *SerialCarrier {
	return &SerialCarrier{control: newHost(control), streams: newHost(streams)}
}

// Hello implements Carrier.
func (c *SerialCarrier) Hello(ctx context.Context) (Hello, error) {
	c.mu.Lock()
	known := c.hello
	c.mu.Unlock()
	if known != nil {
		return *known, nil
	}
	h, err := c.control.hello(ctx)
	if err != nil {
		return Hello{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hello == nil {
		c.hello = &h
	}
	return *c.hello, nil
}

// Dial implements Carrier.
func (c *SerialCarrier) Dial(ctx context.Context, port uint32) (Stream, error) {
	if port == PortControl {
		return c.control.dial(ctx, port)
	}
	return c.streams.dial(ctx, port)
}

// Ping returns nil if the agent answers on both lines. A guest that is silent
// holds it until ctx ends; the connections stay as they are.
func (c *SerialCarrier) Ping(ctx context.Context) error {
	_, err := c.control.hello(ctx)
	if err == nil {
		_, err = c.streams.hello(ctx)
	}
	if err != nil {
		return fmt.Errorf("ping the guest's agent: %w", err)
	}
	return nil
}

// Drop implements Carrier: it ends the connections over both lines. The next Dial
// greets the guest anew.
func (c *SerialCarrier) Drop() {
	c.control.drop()
	c.streams.drop()
}

// Close implements Carrier; the lines are closed.
func (c *SerialCarrier) Close() error {
	return errors.Join(c.control.close(), c.streams.close())
}

// host is the host's end of one line: an HTTP/2 client with one connection,
// made anew where it broke.
type host struct {
	line      Line
	in        *bufio.Reader // of line
	transport *http.Transport
	open      chan struct{} // a token a stream; bounds them before the peer has to

	connecting chan struct{} // a token for who makes the connection

	mu       sync.Mutex
	conn     *http.ClientConn
	lease    *lease
	greeting *lease // while the guest is greeted
	closed   bool
}

func newHost(line Line) *host {
	h := &host{line: line, in: bufio.NewReaderSize(line, readAhead), open: make(chan struct{}, maxStreams), connecting: make(chan struct{}, 1)}
	h.transport = &http.Transport{
		Protocols: new(http.Protocols),
		HTTP2: &http.HTTP2Config{
			MaxReadFrameSize:            maxFrame,
			MaxReceiveBufferPerStream:   streamWindow,
			StrictMaxConcurrentRequests: true,
			// The connection's window is left at the transport's own 1 GiB.
		},
		MaxResponseHeaderBytes: MaxHello,
		DisableCompression:     true,
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			if h.lease == nil {
				return nil, net.ErrClosed
			}
			return h.lease, nil
		},
	}
	h.transport.Protocols.SetUnencryptedHTTP2(true)
	return h
}

// connection returns the line's connection, greeting the guest where there is
// none.
func (h *host) connection(ctx context.Context) (*http.ClientConn, error) {
	select {
	case h.connecting <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-h.connecting }()
	h.mu.Lock()
	conn, old, closed := h.conn, h.lease, h.closed
	h.mu.Unlock()
	switch {
	case closed:
		return nil, net.ErrClosed
	case conn != nil && conn.Err() == nil && !old.isClosed():
		return conn, nil
	case conn != nil:
		conn.Close()
		old.Close()
	}
	l := newLease(h.line, h.in)
	h.mu.Lock()
	h.greeting = l
	h.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	err := greet(l)
	h.mu.Lock()
	h.greeting = nil
	h.mu.Unlock()
	if !stop() || err != nil {
		l.Close()
		return nil, errors.Join(ctx.Err(), err)
	}
	h.mu.Lock()
	h.lease = l
	h.mu.Unlock()
	if conn, err = h.transport.NewClientConn(ctx, "http", "guest:80"); err != nil {
		l.Close()
		return nil, fmt.Errorf("connect to the guest: %w", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		conn.Close()
		return nil, net.ErrClosed
	}
	h.conn = conn
	return conn, nil
}

// drop ends the connection and keeps the line. A greeting under way ends too: an agent
// that has gone may have taken a part of it along, and the next one waits for a whole.
func (h *host) drop() {
	h.mu.Lock()
	conn, l, greeting := h.conn, h.lease, h.greeting
	h.mu.Unlock()
	for _, l := range []*lease{l, greeting} {
		if l != nil {
			l.Close()
		}
	}
	if conn != nil {
		conn.Close()
	}
}

func (h *host) close() error {
	h.mu.Lock()
	conn, l := h.conn, h.lease
	h.closed = true
	h.mu.Unlock()
	err := h.line.Close() // first: it ends a greeting under way
	if l != nil {
		l.Close()
	}
	if conn != nil {
		conn.Close()
	}
	return err
}

func (h *host) hello(ctx context.Context) (Hello, error) {
	conn, err := h.connection(ctx)
	if err != nil {
		return Hello{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://guest"+pathHello, nil)
	if err != nil {
		return Hello{}, err
	}
	resp, err := conn.RoundTrip(req)
	if err != nil {
		return Hello{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, MaxHello+1))
	if err != nil {
		return Hello{}, err
	}
	return parseHello(text)
}

// parseHello reads a guest's hello and refuses one that is too large to be
// kept or shown.
func parseHello(text []byte) (Hello, error) {
	var h Hello
	if len(text) > MaxHello {
		return h, fmt.Errorf("hello is larger than %d bytes", MaxHello)
	}
	if err := json.Unmarshal(text, &h); err != nil {
		return Hello{}, fmt.Errorf("read hello: %w", err)
	}
	if len(h.Agent) > 64 || len(h.Kernel) > 64 || len(h.BootID) > 64 {
		return Hello{}, errors.New("hello has a field of more than 64 bytes")
	}
	return h, nil
}

// TooManyError says that a guest's streams are all in use.
type TooManyError struct{}

func (TooManyError) Error() string {
	return fmt.Sprintf("%d streams to the guest are open: no more fit", maxStreams)
}

func (h *host) dial(ctx context.Context, port uint32) (_ Stream, err error) {
	select {
	case h.open <- struct{}{}:
	default:
		return nil, TooManyError{}
	}
	release := sync.OnceFunc(func() { <-h.open })
	defer func() {
		if err != nil {
			release()
		}
	}()
	conn, err := h.connection(ctx)
	if err != nil {
		return nil, err
	}
	bodyR, bodyW := io.Pipe()
	// The request lives as long as the stream; ctx bounds its opening.
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	req, err := http.NewRequestWithContext(life, http.MethodPost, "http://guest"+pathPort+strconv.FormatUint(uint64(port), 10), bodyR)
	if err != nil {
		cancel()
		return nil, err
	}
	stop := context.AfterFunc(ctx, cancel)
	resp, err := conn.RoundTrip(req)
	if !stop() && err == nil {
		resp.Body.Close()
		err = ctx.Err()
	}
	if err != nil {
		cancel()
		return nil, fmt.Errorf("open a stream to the guest's port %d: %w", port, err)
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		cancel()
		return nil, fmt.Errorf("open a stream to the guest's port %d: the guest answers %d", port, resp.StatusCode)
	}
	return &hostStream{in: resp.Body, out: bodyW, cancel: cancel, release: release}, nil
}

// hostStream is the host's end of a stream: a request's body and its answer's.
type hostStream struct {
	in      io.ReadCloser
	out     *io.PipeWriter
	cancel  context.CancelFunc
	release func()
}

func (s *hostStream) Read(p []byte) (int, error) {
	n, err := s.in.Read(p)
	return n, opaque(err)
}

func (s *hostStream) Write(p []byte) (int, error) { return s.out.Write(p) }

func (s *hostStream) CloseWrite() error { return s.out.Close() }

func (s *hostStream) Close() error {
	s.out.CloseWithError(net.ErrClosed)
	s.cancel()
	s.in.Close()
	s.release()
	return nil
}

// Streams have no deadlines: whoever waits closes the stream.
func (s *hostStream) LocalAddr() net.Addr              { return serialAddr{} }
func (s *hostStream) RemoteAddr() net.Addr             { return serialAddr{} }
func (s *hostStream) SetDeadline(time.Time) error      { return os.ErrNoDeadline }
func (s *hostStream) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline }
func (s *hostStream) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }
