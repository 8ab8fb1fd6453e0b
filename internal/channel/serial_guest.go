package channel

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

// SerialGuest is a Guest over two lines. It serves one connection after the
// other on each, for as long as it is open.
type SerialGuest struct {
	lines [2]Line
	work  sync.WaitGroup

	said chan struct{} // closed when hello is set
	once sync.Once
	text []byte

	mu        sync.Mutex
	listeners map[uint32]*guestListener
	closed    chan struct{}
}

// NewSerialGuest takes both lines over and serves them.
func NewSerialGuest(control, streams Line) *SerialGuest {
	g := &SerialGuest{
		lines: [2]Line{control, streams}, said: make(chan struct{}),
		listeners: map[uint32]*guestListener{}, closed: make(chan struct{}),
	}
	for _, l := range g.lines {
		g.work.Go(func() { g.serve(l) }) // ends when the line is closed
	}
	return g
}

// Hello implements Guest. The host's question may have come already: it is
// answered at once.
func (g *SerialGuest) Hello(_ context.Context, h Hello) error {
	text, err := json.Marshal(h)
	if err != nil {
		return err
	}
	g.once.Do(func() {
		g.text = text
		close(g.said)
	})
	return nil
}

// Listen implements Guest.
func (g *SerialGuest) Listen(port uint32) (net.Listener, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.listeners[port] != nil {
		return nil, fmt.Errorf("port %d is taken", port)
	}
	l := &guestListener{g: g, port: port, conns: make(chan *guestStream), closed: make(chan struct{})}
	g.listeners[port] = l
	return l, nil
}

// Close implements Guest; the lines are closed.
func (g *SerialGuest) Close() error {
	g.mu.Lock()
	select {
	case <-g.closed:
	default:
		close(g.closed)
	}
	g.mu.Unlock()
	err := errors.Join(g.lines[0].Close(), g.lines[1].Close())
	g.work.Wait()
	return err
}

// serve answers connection after connection on one line.
func (g *SerialGuest) serve(line Line) {
	in := bufio.NewReaderSize(line, readAhead)
	for {
		l := newLease(line, in)
		nonce, err := awaitGreeting(l)
		if err == nil {
			_, err = l.Write(append([]byte(guestMagic), nonce...))
		}
		if err != nil {
			l.Close()
			select {
			case <-g.closed:
				return
			default:
			}
			if errors.Is(err, os.ErrClosed) || errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) {
				return
			}
			continue
		}
		server := &http.Server{
			Handler:   http.HandlerFunc(g.answer),
			Protocols: new(http.Protocols),
			HTTP2: &http.HTTP2Config{
				MaxConcurrentStreams:          maxStreams + 2, // a closed one may not be gone yet
				MaxReadFrameSize:              maxFrame,
				MaxReceiveBufferPerStream:     streamWindow,
				MaxReceiveBufferPerConnection: connWindow,
			},
			ErrorLog: log.New(io.Discard, "", 0),
		}
		server.Protocols.SetUnencryptedHTTP2(true)
		stop := make(chan struct{})
		go func() { // ends with the connection or the guest's end
			select {
			case <-g.closed:
				l.Close()
			case <-l.done:
			}
			close(stop)
		}()
		server.Serve(&oneListener{lease: l})
		l.Close()
		<-stop
		server.Close()
	}
}

// answer is one stream, or the host's question for the hello.
func (g *SerialGuest) answer(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == pathHello {
		select {
		case <-g.said:
			w.Write(g.text)
		case <-r.Context().Done():
		}
		return
	}
	port, err := strconv.ParseUint(r.URL.Path[min(len(pathPort), len(r.URL.Path)):], 10, 32)
	g.mu.Lock()
	l := g.listeners[uint32(port)]
	g.mu.Unlock()
	if err != nil || l == nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	s := &guestStream{in: r.Body, w: w, rc: http.NewResponseController(w), done: make(chan struct{})}
	if s.rc.Flush() != nil {
		return
	}
	select {
	case l.conns <- s:
	case <-l.closed:
		return
	case <-r.Context().Done():
		return
	}
	select {
	case <-s.done:
	case <-r.Context().Done():
	}
	s.end()
}

// oneListener gives the one connection and then waits for its end.
type oneListener struct {
	lease *lease
	given bool
}

func (o *oneListener) Accept() (net.Conn, error) {
	if !o.given {
		o.given = true
		return o.lease, nil
	}
	<-o.lease.done
	return nil, net.ErrClosed
}

func (o *oneListener) Close() error   { return nil }
func (o *oneListener) Addr() net.Addr { return serialAddr{} }

type guestListener struct {
	g      *SerialGuest
	port   uint32
	conns  chan *guestStream
	once   sync.Once
	closed chan struct{}
}

func (l *guestListener) Accept() (net.Conn, error) {
	select {
	case s := <-l.conns:
		return s, nil
	case <-l.closed:
	case <-l.g.closed:
	}
	return nil, net.ErrClosed
}

func (l *guestListener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.g.mu.Lock()
		delete(l.g.listeners, l.port)
		l.g.mu.Unlock()
	})
	return nil
}

func (l *guestListener) Addr() net.Addr { return serialAddr{} }

// guestStream is the guest's end of a stream: a request's body and its answer.
type guestStream struct {
	in io.ReadCloser
	rc *http.ResponseController

	mu   sync.Mutex
	w    io.Writer // nil when the answer has ended
	once sync.Once
	done chan struct{}
}

func (s *guestStream) Read(p []byte) (int, error) {
	n, err := s.in.Read(p)
	return n, opaque(err)
}

func (s *guestStream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.w == nil {
		return 0, net.ErrClosed
	}
	n, err := s.w.Write(p)
	if err == nil {
		err = s.rc.Flush()
	}
	return n, err
}

// end keeps late writers from an answer that net/http has finished.
func (s *guestStream) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.w = nil
}

// CloseWrite ends the whole stream: an HTTP/2 server can't end its answer and
// go on reading. The guest carries the result, so it has read what it wants.
func (s *guestStream) CloseWrite() error { return s.Close() }

func (s *guestStream) Close() error {
	s.once.Do(func() { close(s.done) })
	return nil
}

func (s *guestStream) LocalAddr() net.Addr              { return serialAddr{} }
func (s *guestStream) RemoteAddr() net.Addr             { return serialAddr{} }
func (s *guestStream) SetDeadline(time.Time) error      { return os.ErrNoDeadline }
func (s *guestStream) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline }
func (s *guestStream) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }
