package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"banger/internal/channel/control"
	"banger/internal/channel/flow"
	"banger/internal/channel/netflow"
	"banger/internal/vm"
)

const (
	// maxForwarded bounds the connections of a VM's forwards at once.
	maxForwarded = 1024
	// forwardLimit bounds the opening of one in the guest.
	forwardLimit = 20 * time.Second
	// autoPause is from one try to have the addresses that a VM's own forwards lack to the next.
	autoPause = 10 * time.Second
	// maxAddrs bounds the guest's addresses that are tried.
	maxAddrs = 8
)

// guestAddrs are where a forward finds what listens in the guest: its loopback, then eth0.
var guestAddrs = []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1"), netip.MustParseAddr("10.0.2.15")}

// forward is a port of the host's that is forwarded to one of the guest's.
type forward struct {
	vm.Forward
	auto     bool
	listener net.Listener // nil if it could not listen
	err      error
}

// forwards are a run's, and what listens in its guest. Its methods may be called at once.
type forwards struct {
	r        *run
	own      netip.Addr // the VM's own address
	auto     bool
	carriers *carriers
	serving  sync.WaitGroup // of listeners and connections
	life     context.Context
	end      context.CancelFunc
	room     chan struct{} // a token for each connection

	mu    sync.Mutex
	list  []*forward
	ports control.Ports // as the guest tells them, escaped
}

func newForwards(r *run, c *carriers) *forwards {
	f := &forwards{r: r, own: r.order.ID.Loopback(), auto: r.order.Network.AutoForward, carriers: c, room: make(chan struct{}, maxForwarded)}
	f.life, f.end = context.WithCancel(context.Background())
	return f
}

// open listens for the forwards of the order. One that can't be had is said in the status.
func (f *forwards) open() {
	for _, p := range f.r.order.Network.Publish {
		if err := f.add(p, true); err != nil {
			f.r.log.Warn("forward a port", "forward", p, "err", err)
		}
	}
	if f.auto {
		f.serving.Go(func() { // ends with life
			for {
				select {
				case <-time.After(autoPause):
					f.followAgain()
				case <-f.life.Done():
					return
				}
			}
		})
	}
}

// followAgain tries to have the addresses that another program of the host's had.
func (f *forwards) followAgain() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if slices.ContainsFunc(f.list, func(g *forward) bool { return g.auto && g.listener == nil }) && f.life.Err() == nil {
		f.follow()
	}
}

// close ends all forwards and their connections.
func (f *forwards) close() {
	f.end()
	f.mu.Lock()
	for _, g := range f.list {
		g.stop()
	}
	f.list = nil
	f.mu.Unlock()
	f.serving.Wait()
}

func (g *forward) stop() {
	if g.listener != nil {
		g.listener.Close()
	}
}

// add listens for p. A repeat of one that listens changes nothing, another at the same
// address takes its place. With keep, one that can't listen is kept with the reason.
func (f *forwards) add(p vm.Forward, keep bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer f.tell()
	if i := slices.IndexFunc(f.list, func(g *forward) bool { return g.Host == p.Host }); i >= 0 {
		g := f.list[i]
		if g.listener != nil && g.Guest == p.Guest {
			g.auto = false
			return nil
		}
		keep = keep || g.listener == nil && !g.auto
		g.stop()
		f.list = slices.Delete(f.list, i, i+1)
	}
	err := f.listen(&forward{Forward: p})
	if n := len(f.list); err != nil && !keep && n > 0 && f.list[n-1].Host == p.Host {
		f.list = f.list[:n-1]
	}
	return err
}

// tell says in the status which forwards that were asked for are not there. The caller holds mu.
func (f *forwards) tell() {
	var lines []string
	for _, g := range f.list {
		if g.err != nil && !g.auto {
			lines = append(lines, fmt.Sprintf("port %d of the guest is not forwarded to: %v", g.Guest, g.err))
		}
	}
	if s, _ := f.r.now(); !slices.Equal(s.NotForwarded, lines) {
		f.r.update(func(s *Status) { s.NotForwarded = lines })
	}
}

// listen begins to answer for g and keeps it in any case. The caller holds mu.
func (f *forwards) listen(g *forward) error {
	if f.life.Err() != nil {
		return errors.New("the VM is ending")
	}
	g.listener, g.err = listenFor(g.Forward)
	f.list = append(f.list, g)
	if l := g.listener; l != nil {
		f.serving.Go(func() { f.serve(l, g.Forward) }) // ends with l
	}
	return g.err
}

// remove ends the forward at that address of the host's, and its listener; connections
// go on.
func (f *forwards) remove(host netip.AddrPort) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.list, func(g *forward) bool { return g.Host == host && !g.auto })
	if i < 0 {
		return false
	}
	f.list[i].stop()
	f.list = slices.Delete(f.list, i, i+1)
	f.tell()
	return true
}

// listeners is what listens in the guest, of what an agent says.
func listeners(said control.Ports) control.Ports {
	p := control.Ports{More: max(said.More, 0)}
	for _, l := range said.Listening[:min(len(said.Listening), control.MaxListeners)] {
		a := netip.AddrPortFrom(l.Addr.Addr().Unmap().WithZone(""), l.Addr.Port()) // a zone may have anything in it
		if a.Addr().IsValid() && a.Port() != 0 {
			p.Listening = append(p.Listening, control.Listener{Addr: a, Process: escape(l.Process[:min(len(l.Process), maxProcess)]), PID: max(l.PID, 0)})
		}
	}
	return p
}

// hear takes what listens in the guest.
func (f *forwards) hear(p control.Ports) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ports = p
	if f.auto && f.life.Err() == nil {
		f.follow()
	}
}

// follow makes the forwards that are made by themselves: one to each port that listens,
// and none to others. The caller holds mu.
func (f *forwards) follow() {
	listens := map[uint16]bool{}
	for _, l := range f.ports.Listening {
		listens[l.Addr.Port()] = true
	}
	count := 0
	why := map[netip.AddrPort]string{} // what could not be had, and is tried again
	f.list = slices.DeleteFunc(f.list, func(g *forward) bool {
		gone := g.auto && (!listens[g.Guest] || g.listener == nil)
		if gone {
			g.stop()
			if g.err != nil {
				why[g.Host] = g.err.Error()
			}
		} else if g.auto {
			count++
		}
		return gone
	})
	for _, l := range f.ports.Listening {
		p := vm.Forward{Host: netip.AddrPortFrom(f.own, l.Addr.Port()), Guest: l.Addr.Port()}
		has := slices.ContainsFunc(f.list, func(g *forward) bool { return g.Host == p.Host })
		if has || count == vm.MaxForwards {
			continue
		}
		count++
		if err := f.listen(&forward{Forward: p, auto: true}); err != nil && err.Error() != why[p.Host] {
			f.r.log.Info("forward a port", "forward", p, "err", err)
		}
	}
}

// serve takes connections until l is closed.
func (f *forwards) serve(l net.Listener, p vm.Forward) {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // no descriptor left, perhaps
			select {
			case <-time.After(50 * time.Millisecond):
			case <-f.life.Done():
			}
			continue
		}
		tcp := c.(*net.TCPConn)
		select {
		case f.room <- struct{}{}:
			f.serving.Go(func() { // ends with the connection, or life
				defer func() { <-f.room }()
				f.join(tcp, p)
			})
		default:
			f.r.log.Warn("a connection to a forwarded port is refused", "forward", p, "why", "there are too many")
			reset(tcp)
		}
	}
}

// join carries one connection.
func (f *forwards) join(c *net.TCPConn, p vm.Forward) {
	defer context.AfterFunc(f.life, func() { reset(c) })()
	if err := mayConnect(c, os.Getuid()); err != nil {
		f.r.log.Warn("a connection to a forwarded port is refused", "forward", p, "why", err)
		reset(c)
		return
	}
	g, err := f.reach(p.Guest)
	if err != nil {
		f.r.log.Debug("connect to a port of the guest", "port", p.Guest, "err", err)
		reset(c)
		return
	}
	flow.Join(g, c)
}

// reset closes c so that its other end sees no end of what it reads, but an error.
func reset(c *net.TCPConn) {
	c.SetLinger(0)
	c.Close()
}

// reach opens a connection to a port of the guest: on its loopback, on eth0, or on another
// address where it is known to listen.
func (f *forwards) reach(port uint16) (*flow.Flow, error) {
	ctx, cancel := context.WithTimeout(f.life, forwardLimit)
	defer cancel()
	var refused error
	for _, a := range f.addrsOf(port) {
		r := netflow.Request{Kind: netflow.Listener, Addr: netip.AddrPortFrom(a, port)}
		g, err := f.carriers.open(ctx, r.Marshal())
		if err == nil {
			return g, nil
		}
		if no := (*flow.RefusedError)(nil); !errors.As(err, &no) {
			return nil, err
		}
		refused = err
	}
	return nil, refused
}

// addrsOf are the guest's addresses on which to try a port, in order.
func (f *forwards) addrsOf(port uint16) []netip.Addr {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := slices.Clone(guestAddrs)
	for _, l := range f.ports.Listening {
		a := l.Addr.Addr()
		if l.Addr.Port() == port && !a.IsUnspecified() && !slices.Contains(out, a) && len(out) < maxAddrs {
			out = append(out, a)
		}
	}
	return out
}

// carry answers the flows of another VM's on a carrier until that, or this run, ends.
func (f *forwards) carry(c net.Conn, buffered io.Reader) {
	s := flow.New(carrier{c, buffered}, false, maxForwarded, f.answer)
	select {
	case <-s.Done():
	case <-f.life.Done():
	}
	s.Close()
}

// carrier is a connection of which some bytes have been read.
type carrier struct {
	net.Conn
	buffered io.Reader
}

func (c carrier) Read(p []byte) (int, error) { return c.buffered.Read(p) }

// answer carries one flow of another VM's.
func (f *forwards) answer(from *flow.Flow) {
	r, err := netflow.Parse(from.Header())
	if err != nil || r.Kind != netflow.Listener {
		from.Refuse(netflow.Refused, "no such kind of flow")
		return
	}
	select {
	case f.room <- struct{}{}:
		defer func() { <-f.room }()
	default:
		from.Refuse(netflow.Busy, "the VM has too many connections from outside")
		return
	}
	g, err := f.reach(r.Addr.Port())
	if no := (*flow.RefusedError)(nil); errors.As(err, &no) {
		from.Refuse(no.Code, no.Text)
		return
	}
	if err != nil {
		from.Refuse(netflow.Unreachable, err.Error())
		return
	}
	if from.Accept() != nil {
		g.Reset()
		return
	}
	flow.Join(from, g)
}
