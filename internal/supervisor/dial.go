package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"banger/internal/channel"
	"banger/internal/channel/control"
	"banger/internal/vmm"
)

// Limits of reaching the guest's agent. A session's own limit is 30 s: it hears
// the reason before it gives up.
const (
	dialLimit   = 20 * time.Second
	healthLimit = 10 * time.Second
	growLimit   = time.Minute // an emulated guest writes the descriptors of a TiB in seconds
)

// serveDial turns the connection into a stream to one of the guest's services.
func (r *run) serveDial(w http.ResponseWriter, req *http.Request) {
	port, err := strconv.ParseUint(req.URL.Query().Get("port"), 10, 32)
	if err != nil || req.Header.Get("Upgrade") != Upgrade {
		refuse(w, &Refusal{Code: CodeInvalid, Message: "a dial needs ?port=N and the header Upgrade: " + Upgrade})
		return
	}
	var stream channel.Stream
	err = r.reach(req.Context(), verbDial, dialLimit, func(ctx context.Context, m vmm.Machine) (err error) {
		stream, err = m.Carrier().Dial(ctx, uint32(port))
		return err
	})
	if err != nil {
		refuse(w, err)
		return
	}
	conn, buffered, err := r.upgrade(w)
	if err != nil {
		stream.Close()
		return
	}
	r.streams.Add(1)
	defer r.streams.Add(-1)
	bridge(conn, buffered, stream)
}

// upgrade turns a request's connection into one of raw bytes.
func (r *run) upgrade(w http.ResponseWriter) (net.Conn, io.Reader, error) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, nil, err
	}
	s, _ := r.now()
	fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\n%s: %d\r\n%s: %d\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n",
		Header, Protocol, AgentHeader, s.AgentProtocol, Upgrade)
	return conn, buffered, nil
}

func (r *run) serveHealth(w http.ResponseWriter, req *http.Request) {
	var health any
	err := r.reach(req.Context(), verbHealth, healthLimit, func(ctx context.Context, m vmm.Machine) (err error) {
		health, err = r.guest(m).Health(ctx)
		return err
	})
	if err != nil {
		refuse(w, err)
		return
	}
	answer(w, http.StatusOK, health)
}

// serveGrow tells the VMM the sizes of the VM's own disks, and the guest's agent to use them.
func (r *run) serveGrow(w http.ResponseWriter, req *http.Request) {
	if err := r.knows(control.Grow{}); err != nil {
		refuse(w, &Refusal{Code: CodeState, Message: fmt.Sprintf("VM %q: %v", r.name(), err), Hint: "banger vm restart " + r.name()})
		return
	}
	err := r.reach(req.Context(), verbGrow, growLimit, func(ctx context.Context, m vmm.Machine) error {
		grower, can := m.(vmm.Grower)
		if !can {
			return fmt.Errorf("%s gives a disk its size at the start", r.order.Driver)
		}
		var bytes int64
		for n, d := range r.order.Disks {
			if d.ReadOnly {
				continue
			}
			fi, err := os.Stat(d.Path)
			if err == nil {
				bytes = fi.Size()
				err = grower.Grow(ctx, n, bytes)
			}
			if err != nil {
				return err
			}
		}
		return r.guest(m).Grow(ctx, bytes)
	})
	if err != nil {
		refuse(w, err)
		return
	}
	answer(w, http.StatusOK, struct{}{})
}

// reach calls do, which asks the guest's agent, within limit. If there is no
// answer, the error says who it is that does not answer: it does so at once if
// that is known already, and within seconds if a signal has stopped the VMM.
func (r *run) reach(ctx context.Context, v verb, limit time.Duration, do func(context.Context, vmm.Machine) error) error {
	s, _ := r.now()
	if err := check(s.Phase, v); err != nil {
		return err
	}
	m := *r.machine.Load()
	refusal := func(why string) error {
		f := &Refusal{Code: CodeSilent, Message: fmt.Sprintf("VM %q: %s", r.name(), why)}
		if stopped(m) {
			f.Hint = fmt.Sprintf("kill -CONT %d lets it go on; banger vm kill %s ends it", m.Process().PID, r.name())
		}
		return f
	}
	if s.Held != "" || s.agentGone() != "" {
		return refusal(r.silence(m))
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- do(ctx, m) }() // ends with ctx at the latest; done has room
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	given := ""
	for {
		select {
		case err := <-done:
			switch {
			case err == nil:
				return nil
			case errors.As(err, &channel.TooManyError{}):
				return &Refusal{Code: CodeState, Message: fmt.Sprintf("VM %q: %v", r.name(), err)}
			case given != "":
				return refusal(given)
			case ctx.Err() != nil:
				return refusal(r.silence(m))
			}
			return refusal(r.silence(m) + ": " + err.Error())
		case <-tick.C:
			s, _ := r.now()
			if given == "" && (stopped(m) || s.Held != "" || s.agentGone() != "") {
				given = r.silence(m)
				cancel()
			}
		}
	}
}

// bridge copies both ways until the guest has said all or the client is gone.
// The guest carries the result, so its end decides; a client ends its input
// inside its protocol, so the end of its connection means that it is gone.
func bridge(client net.Conn, fromClient io.Reader, guest channel.Stream) {
	var copying sync.WaitGroup
	copying.Go(func() { // ends with client's or guest's end; both are closed below
		copyStream(guest, fromClient)
		// The process may end before it has read all of its input, while its last
		// output is still on the way. Keep reading the client so that it arrives.
		copyStream(io.Discard, fromClient)
		guest.Close()
	})
	copyStream(client, guest)
	client.Close()
	guest.Close()
	copying.Wait()
}

// streamBuffer holds one frame of package exec's bulk size and its header, in
// bytes.
const streamBuffer = 257 << 10

var buffers = sync.Pool{New: func() any { return new([streamBuffer]byte) }}

func copyStream(dst io.Writer, src io.Reader) {
	b := buffers.Get().(*[streamBuffer]byte)
	defer buffers.Put(b)
	// Plain reads and writes: neither side has a descriptor to splice.
	io.CopyBuffer(struct{ io.Writer }{dst}, struct{ io.Reader }{src}, b[:])
}
