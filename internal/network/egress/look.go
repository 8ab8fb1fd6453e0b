package egress

import (
	"errors"
	"sync"
	"syscall"

	"banger/internal/channel/flow"
	"banger/internal/network/dial"
	"banger/internal/network/policy"
)

var errDenied = errors.New("the connection's first bytes are denied")

// looking is a connection whose first bytes are judged before they go on to the server. What
// the server says first decides as well: neither TLS nor HTTP begin so.
type looking struct {
	dial.Conn
	g *Guest
	c *connection

	mu      sync.Mutex
	first   []byte // what the guest has sent and the server has not got
	passed  int    // of first
	decided bool
	err     error
}

func (g *Guest) look(c *connection, conn dial.Conn) flow.Conn {
	return &looking{Conn: conn, g: g, c: c}
}

// Write takes what the guest sends.
func (l *looking) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.decided {
		if l.err != nil {
			return 0, l.err
		}
		return l.Conn.Write(p)
	}
	l.first = append(l.first, p...)
	said := policy.Read(l.first[:min(len(l.first), policy.MaxFirst)])
	if !said.Complete && len(l.first) < policy.MaxFirst {
		return len(p), l.pass(max(said.Pass, l.passed))
	}
	if err := l.decide(said); err != nil {
		return 0, err
	}
	return len(p), nil
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
	l.decided = true
	l.c.mu.Lock()
	v := l.g.judged().Heard(l.c.question, l.c.verdict, said)
	l.c.said = &said
	l.c.verdict = v
	l.c.mu.Unlock()
	if !v.Allow {
		l.g.deny(l.c.question, v, "")
		l.err = errDenied
		l.c.flow.Reset()
		return l.err
	}
	err := l.pass(len(l.first))
	l.first = nil
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
	case l.decided:
		return l.err
	case len(l.first) == 0:
		return l.decide(policy.ServerFirst())
	}
	return l.decide(policy.Read(l.first).End())
}

// heard is called when the server has said something.
func (l *looking) heard() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.decided && l.passed == 0 {
		l.settle()
	}
}

// Read reads what the server sends.
func (l *looking) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	if n > 0 {
		l.heard()
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

func (r *lookingRaw) Read(f func(fd uintptr) bool) error {
	return r.RawConn.Read(func(fd uintptr) bool {
		done := f(fd)
		if done {
			r.l.heard()
		}
		return done
	})
}

// SetLinger passes on how the connection is closed.
func (l *looking) SetLinger(sec int) error {
	if c, ok := l.Conn.(interface{ SetLinger(int) error }); ok {
		return c.SetLinger(sec)
	}
	return nil
}
