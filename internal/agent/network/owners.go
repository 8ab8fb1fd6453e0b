package network

import (
	"fmt"
	"strings"
	"sync"

	"banger/internal/channel/netflow"
	"banger/internal/network/ports"
)

// owners finds the processes that have sockets. A program may have a thousand connections denied
// at once: it looks once for all who ask meanwhile, and first at the process that it found last.
type owners struct {
	mu      sync.Mutex
	looking bool
	next    *look // the one that has not begun
	last    int   // the process that was found last; of look alone
}

// look is one look at the guest's processes.
type look struct {
	inodes []uint32
	done   chan struct{}
	found  map[uint32]ports.Process // there when done is closed
}

// find returns the name and number of the process that has the guest's end of what is denied, ""
// if it is not found: one in a namespace of its own is not.
func (o *owners) find(r netflow.Request) string {
	var s ports.Socket
	var err error
	if r.Proto == netflow.TCP {
		s, err = ports.Peer(r.From, r.Addr)
	} else {
		s, err = ports.Datagram(r.Proto, r.From, r.Addr)
	}
	if err != nil {
		return ""
	}
	p := o.of(s.Inode)
	if p.PID == 0 {
		return ""
	}
	return fmt.Sprintf("%s[%d]", oneLine(strings.TrimSpace(p.Name)), p.PID)
}

// of returns the process that has the socket: the zero value if none has.
func (o *owners) of(inode uint32) ports.Process {
	o.mu.Lock()
	if o.next == nil {
		o.next = &look{done: make(chan struct{})}
	}
	l := o.next
	l.inodes = append(l.inodes, inode)
	if !o.looking {
		o.looking = true
		go o.look() // ends when nobody asks any more
	}
	o.mu.Unlock()
	<-l.done
	return l.found[inode]
}

func (o *owners) look() {
	for {
		o.mu.Lock()
		l := o.next
		o.next = nil
		o.looking = l != nil
		o.mu.Unlock()
		if l == nil {
			return
		}
		l.found = ports.Latest(l.inodes, o.last)
		for _, p := range l.found {
			o.last = p.PID
		}
		close(l.done)
	}
}
