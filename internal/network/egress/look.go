package egress

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/channel/flow"
	"banger/internal/channel/netflow"
	"banger/internal/network/policy"
)

// lookLimit is how long first bytes may take to be whole, from the first one that is held
// back, if they must say a name. Else they go on after a tenth, and are judged when they are
// whole: a protocol of its own may begin with a word and wait.
const lookLimit = 30 * time.Second

var errDenied = errors.New("the connection's first bytes are denied")

// looking is a connection whose first bytes are read. If the policy judges by them, they go
// on to the server when they are judged; else at once, and are known when the policy changes. What
// the server says first decides as well: neither TLS nor HTTP begin so.
type looking struct {
	flow.Conn
	g *Guest
	c *connection

	// decided is true before more than MaxFirst bytes go on, which the kernel's buffers take:
	// the server's bytes must not wait for a mutex that is held while the guest's are written.
	decided atomic.Bool

	mu     sync.Mutex
	first  []byte // what the guest has sent
	passed int    // of first, what the server has got
	begun  bool   // HTTP/2: the server may speak before the guest's request
	onward bool   // if nothing must be said, what is not whole goes on too
	limit  *time.Timer
	err    error
}

func (g *Guest) look(c *connection, conn flow.Conn) flow.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.verdict.Target != policy.ToAddress {
		return conn
	}
	c.first = &looking{Conn: conn, g: g, c: c}
	return c.first
}

// Write takes what the guest sends.
func (l *looking) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.decided.Load() {
		if l.err != nil {
			return 0, l.err
		}
		return l.Conn.Write(p)
	}
	l.first = append(l.first, p...)
	said := policy.Read(l.first)
	if said.Complete {
		return len(p), l.decide(said)
	}
	l.begun = l.begun || said.Pass > 0
	pass := len(l.first)
	look, must := l.c.judged()
	if look && (must || !l.onward) {
		pass = max(said.Pass, l.passed)
	}
	if pass < len(l.first) && l.limit == nil {
		limit := l.g.lookLimit
		if !must {
			limit /= 10
		}
		l.limit = time.AfterFunc(limit, l.late)
	}
	return len(p), l.pass(pass)
}

// judged reports whether the policy judges the connection by its first bytes, and whether
// they must say a name.
func (c *connection) judged() (look, must bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.verdict.Look, c.verdict.MustSay
}

// pass sends the first n bytes on.
func (l *looking) pass(n int) error {
	if n == l.passed {
		return nil
	}
	_, err := l.Conn.Write(l.first[l.passed:n])
	l.passed = n
	return err
}

// decide asks the policy about what was said, and sends it on or denies it.
func (l *looking) decide(said policy.Said) error {
	l.decided.Store(true)
	if l.limit != nil {
		l.limit.Stop()
	}
	l.c.mu.Lock()
	l.c.said = &said
	look := l.c.verdict.Look
	l.c.mu.Unlock()
	if look {
		if v, over := l.g.rejudge(l.c); over {
			l.g.end(l.c, v, netflow.WhoLimit)
		}
	}
	if l.c.isOver() {
		l.first, l.err = nil, errDenied
		return l.err
	}
	err := l.pass(len(l.first))
	l.first = nil
	return err
}

// late is called when first bytes have waited for too long.
func (l *looking) late() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limit = nil
	if l.passed < len(l.first) {
		l.waited()
	}
}

// waited is called when first bytes are not whole in time, or before the server speaks: what
// must say a name is decided on. Else the rest may still say a denied name.
func (l *looking) waited() {
	if look, must := l.c.judged(); must || !look || len(l.first) == 0 {
		l.settle()
		return
	}
	l.onward = true
	if l.limit != nil {
		l.limit.Stop()
		l.limit = nil
	}
	l.pass(len(l.first)) // an error is the next write's too
}

// Close closes the connection.
func (l *looking) Close() error {
	err := l.Conn.Close() // which ends a write that holds the mutex
	l.mu.Lock()
	defer l.mu.Unlock()
	l.decided.Store(true)
	if l.limit != nil {
		l.limit.Stop()
	}
	l.first, l.passed = nil, 0
	if l.err == nil {
		l.err = net.ErrClosed
	}
	return err
}

// CloseWrite is the end of what the guest sends.
func (l *looking) CloseWrite() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.settle(); err != nil {
		return err
	}
	return l.Conn.CloseWrite()
}

// settle decides by what there is, if nothing has yet.
func (l *looking) settle() error {
	switch {
	case l.decided.Load():
		return l.err
	case len(l.first) == 0:
		return l.decide(policy.ServerFirst())
	}
	return l.decide(policy.Read(l.first).End())
}

// heard is called when the server has said something, which begins with b.
func (l *looking) heard(b []byte) {
	if l.decided.Load() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.begun = l.begun || policy.Settings(b); !l.begun && !l.decided.Load() {
		l.waited()
	}
}

// Read reads what the server sends.
func (l *looking) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	if n > 0 {
		l.heard(p[:n])
	}
	return n, err
}

// SyscallConn lets a silent connection hold no buffer.
func (l *looking) SyscallConn() (syscall.RawConn, error) {
	sc, ok := l.Conn.(syscall.Conn)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &lookingRaw{raw, l}, nil
}

type lookingRaw struct {
	syscall.RawConn
	l *looking
}

// Read looks whether the server has said something before f reads it: its end says nothing.
func (r *lookingRaw) Read(f func(fd uintptr) bool) error {
	return r.RawConn.Read(func(fd uintptr) bool {
		if !r.l.decided.Load() {
			// SIOCINQ (tcp(7)): a look by MSG_PEEK at nothing would take a reset's error away.
			if n, err := unix.IoctlGetInt(int(fd), unix.TIOCINQ); err == nil && n > 0 {
				var b [policy.SettingsLen]byte
				n, _, _ := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
				r.l.heard(b[:max(n, 0)])
			}
		}
		return f(fd)
	})
}

// SetLinger passes on how the connection is closed.
func (l *looking) SetLinger(sec int) error {
	if c, ok := l.Conn.(interface{ SetLinger(int) error }); ok {
		return c.SetLinger(sec)
	}
	return nil
}
