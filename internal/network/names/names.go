// Package names answers the names of VMs by DNS: NAME.vm is the VM's own address on this
// host.
//
// It answers what it is asked of .vm only, refuses all other names, and asks no other
// server: it is for the host's resolver to send it what ends in .vm.
package names

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Addr is where the server answers, by UDP and TCP.
const Addr = "127.0.0.1:42069"

// Domain is what the names of VMs end in.
const Domain = "vm"

// ttl is how long an answer may be kept, in seconds: a name may be given to another VM.
const ttl = 5

// probe is a name below Domain that no VM can have, with the address of the server itself:
// who finds it is sent here by the host's resolver.
const probe = "_banger"

// Probe is the name that this host resolves, to ProbeAddr, if it resolves those of VMs.
const Probe = probe + "." + Domain

// ProbeAddr is the address of Probe.
var ProbeAddr = netip.MustParseAddr("127.0.0.1")

// Lookup finds the address of the VM with that name.
type Lookup func(name string) (netip.Addr, bool)

// Answer answers one message; nil is no answer: it was none, or an answer itself.
func Answer(message []byte, lookup Lookup) []byte {
	var p dnsmessage.Parser
	h, err := p.Start(message)
	if err != nil || h.Response {
		return nil
	}
	reply := dnsmessage.Header{ID: h.ID, Response: true, OpCode: h.OpCode, RecursionDesired: h.RecursionDesired}
	q, err := p.Question()
	if err != nil {
		reply.RCode = dnsmessage.RCodeFormatError
		return pack(reply, nil, netip.Addr{})
	}
	if _, err := p.Question(); !errors.Is(err, dnsmessage.ErrSectionDone) || h.OpCode != 0 {
		reply.RCode = dnsmessage.RCodeNotImplemented
		return pack(reply, &q, netip.Addr{})
	}
	var addr netip.Addr
	host, domain, _ := strings.Cut(strings.ToLower(q.Name.String()), ".")
	known := false
	switch {
	case host == Domain && domain == "":
		known = true // it has names below it, and no address
	case domain != Domain+"." && !strings.HasSuffix(domain, "."+Domain+"."):
		reply.RCode = dnsmessage.RCodeRefused
		return pack(reply, &q, addr)
	case host == probe && domain == Domain+".":
		addr, known = ProbeAddr, true
	case domain == Domain+".":
		addr, known = lookup(host)
	}
	reply.Authoritative = true
	if !known {
		reply.RCode, addr = dnsmessage.RCodeNameError, netip.Addr{}
	}
	if q.Type != dnsmessage.TypeA && q.Type != dnsmessage.TypeALL || q.Class != dnsmessage.ClassINET {
		addr = netip.Addr{}
	}
	return pack(reply, &q, addr)
}

func pack(h dnsmessage.Header, q *dnsmessage.Question, addr netip.Addr) []byte {
	m := dnsmessage.Message{Header: h}
	if q != nil {
		m.Questions = []dnsmessage.Question{*q}
	}
	if addr.Is4() {
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET, TTL: ttl},
			Body:   &dnsmessage.AResource{A: addr.As4()},
		}}
	}
	out, err := m.Pack()
	if err != nil {
		return nil
	}
	return out
}

const (
	// retry is from a try to take the address to the next.
	retry = 10 * time.Second
	// maxConns bounds the connections of TCP at once, idle how long one may be silent.
	maxConns = 64
	idle     = 10 * time.Second
)

// Server answers on Addr, or waits until it is free.
type Server struct {
	addr    string
	lookup  Lookup
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu  sync.Mutex
	err error
}

// Start begins to answer on addr (Addr) by lookup, which is called from several goroutines
// at once. An address that is taken is tried again until Close, and Err tells it meanwhile.
func Start(addr string, lookup Lookup) *Server {
	s := &Server{addr: addr, lookup: lookup}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	u, l, err := listen(addr)
	s.note(err)
	s.running.Go(func() { s.serve(ctx, u, l) }) // ends with ctx
	return s
}

// Close ends the server, and waits until it has ended.
func (s *Server) Close() {
	s.cancel()
	s.running.Wait()
}

// Err says why the server does not answer now; nil if it does.
func (s *Server) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *Server) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil && (s.err == nil || s.err.Error() != err.Error()) {
		slog.Warn("names of VMs are not answered", "addr", s.addr, "err", err)
	} else if err == nil && s.err != nil {
		slog.Info("names of VMs are answered now", "addr", s.addr)
	}
	s.err = err
}

// listen takes addr by UDP and TCP, both or none.
func listen(addr string) (*net.UDPConn, net.Listener, error) {
	u, err := net.ListenPacket("udp", addr)
	if err != nil {
		return nil, nil, fmt.Errorf("answer names of VMs: %w", err)
	}
	l, err := net.Listen("tcp", u.LocalAddr().String())
	if err != nil {
		u.Close()
		return nil, nil, fmt.Errorf("answer names of VMs: %w", err)
	}
	return u.(*net.UDPConn), l, nil
}

// serve answers until ctx ends; u is nil if the address was taken.
func (s *Server) serve(ctx context.Context, u *net.UDPConn, l net.Listener) {
	for u == nil {
		select {
		case <-time.After(retry):
		case <-ctx.Done():
			return
		}
		var err error
		u, l, err = listen(s.addr)
		s.note(err)
	}
	defer context.AfterFunc(ctx, func() {
		u.Close()
		l.Close()
	})()
	var serving sync.WaitGroup
	serving.Go(func() { s.stream(ctx, l) }) // ends with l
	buf := make([]byte, 4<<10)
	for {
		n, from, err := u.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			break
		}
		if err != nil {
			continue // of an answer that went nowhere
		}
		if reply := Answer(buf[:n], s.lookup); reply != nil {
			u.WriteToUDPAddrPort(reply, from)
		}
	}
	serving.Wait()
}

func (s *Server) stream(ctx context.Context, l net.Listener) {
	room := make(chan struct{}, maxConns)
	var serving sync.WaitGroup
	defer serving.Wait()
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // no descriptor left, perhaps
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		select {
		case room <- struct{}{}:
			serving.Go(func() { // ends with c, or ctx
				defer func() { <-room }()
				defer context.AfterFunc(ctx, func() { c.Close() })()
				s.converse(c)
			})
		default:
			c.Close()
		}
	}
}

// converse answers messages with their length before them (RFC 1035, section 4.2.2).
func (s *Server) converse(c net.Conn) {
	defer c.Close()
	var length [2]byte
	for {
		c.SetDeadline(time.Now().Add(idle))
		if _, err := io.ReadFull(c, length[:]); err != nil {
			return
		}
		message := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(c, message); err != nil {
			return
		}
		reply := Answer(message, s.lookup)
		if reply == nil {
			return
		}
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)); err != nil {
			return
		}
	}
}
