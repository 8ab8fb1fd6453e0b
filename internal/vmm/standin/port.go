package standin

import (
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// port is the listener of one of the guest's services.
type port struct {
	number uint32
	conns  chan net.Conn
}

func newPort(number uint32) *port { return &port{number, make(chan net.Conn)} }

// Accept implements net.Listener.
func (p *port) Accept() (net.Conn, error) { return <-p.conns, nil }

// Close implements net.Listener; a port lasts as long as its process.
func (p *port) Close() error { return nil }

// Addr implements net.Listener.
func (p *port) Addr() net.Addr { return p }

// Network implements net.Addr.
func (p *port) Network() string { return "vsock" }

// String implements net.Addr.
func (p *port) String() string { return strconv.FormatUint(uint64(p.number), 10) }

// answer takes the host's streams on the VMM's socket.
func (g *guest) answer(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go g.connect(c) // ends when the stream is a service's, or refused
	}
}

// connect gives a stream to the service that it asks for. As Firecracker does,
// it closes one for a port where nobody listens.
func (g *guest) connect(c net.Conn) {
	number, err := readConnect(c)
	for g.held.Load() && g.now().DiskFull {
		time.Sleep(again) // nobody tells that a file has changed
	}
	g.mu.Lock()
	p := g.ports[number]
	g.mu.Unlock()
	if err == nil && p != nil && !g.now().AgentGone {
		if _, err = fmt.Fprintf(c, "OK %d\n", number); err == nil {
			p.conns <- c
			return
		}
	}
	c.Close()
}

// maxConnect bounds the host's request: "CONNECT 4294967295\n".
const maxConnect = 19

// readConnect reads the host's request, not a byte more.
func readConnect(r io.Reader) (uint32, error) {
	var line []byte
	for one := make([]byte, 1); ; line = append(line, one[0]) {
		if _, err := io.ReadFull(r, one); err != nil {
			return 0, err
		}
		if one[0] == '\n' {
			break
		}
		if len(line) == maxConnect {
			return 0, fmt.Errorf("request %q… is longer than any", line)
		}
	}
	number, ok := strings.CutPrefix(string(line), "CONNECT ")
	if !ok {
		return 0, fmt.Errorf("request %q is not known", line)
	}
	n, err := strconv.ParseUint(number, 10, 32)
	return uint32(n), err
}
