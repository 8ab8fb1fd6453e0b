// Package command runs a guest's commands: it serves the exec port, one process
// a stream, with root's environment. What is said on a stream is package
// channel/exec's.
package command

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"banger/internal/channel/exec"
)

// linger is how long output may pause, once the process has ended, before the
// session ends too: a child of it may hold the pipe for ever.
const linger = 250 * time.Millisecond

// Service starts processes, one a stream. The zero value is the guest's own.
type Service struct {
	// Env are KEY=VALUE pairs that each session has in the place of root's own;
	// a request's come after them. They are set before Serve.
	Env []string
	// Agent is the argument vector of the agent's own program, without the
	// arguments that a request has. It is set before Serve.
	Agent []string

	// Hear, if it is set, is told the host's time that a request carries, before its
	// process is started.
	Hear func(unixNano int64)

	count atomic.Int64
}

// Running is how many processes run now.
func (s *Service) Running() int { return int(s.count.Load()) }

// Serve answers streams until l is closed. Sessions under way go on.
func (s *Service) Serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() { // ends with the stream or its process
			defer c.Close()
			s.run(c)
		}()
	}
}

// run is one session: a request, a process, its status.
func (s *Service) run(c net.Conn) {
	in, out := exec.NewReader(c), exec.NewWriter(c)
	req, err := in.ReadRequest()
	if err != nil {
		out.WriteStatus(exec.Status{Kind: exec.Failed, Message: err.Error()})
		return
	}
	if s.Hear != nil && req.UnixNano > 0 {
		s.Hear(req.UnixNano)
	}
	p, status := start(req, s.Env, s.Agent)
	if p == nil {
		out.WriteStatus(status)
		return
	}
	s.count.Add(1)
	defer s.count.Add(-1)

	ended := make(chan struct{})
	var feeding sync.WaitGroup
	feeding.Go(func() { // ends when the stream does, which c.Close below brings
		p.feed(in)
		select {
		case <-ended:
		default:
			p.hangUp(ended) // the host's end is gone
		}
	})
	var draining sync.WaitGroup
	draining.Go(func() { drain(out, exec.TypeStdout, p.stdout) }) // end with the process, see drain
	if p.stderr != nil {
		draining.Go(func() { drain(out, exec.TypeStderr, p.stderr) })
	}
	status = p.wait()
	close(ended)
	// Wakes the readers: from here on each read waits no longer than linger.
	p.stdout.SetReadDeadline(time.Unix(1, 0))
	if p.stderr != nil {
		p.stderr.SetReadDeadline(time.Unix(1, 0))
	}
	draining.Wait()
	out.WriteStatus(status)
	p.close()
	c.Close()
	feeding.Wait()
}

// drain copies a process's output to its end.
func drain(w *exec.Writer, t exec.Type, r *os.File) {
	if w.Copy(t, output{r}) != nil {
		r.Close() // nobody reads: the process learns it from its closed pipe
	}
}

// output is a process's. A deadline says that the process has ended: what is
// still there is taken, as long as more comes within linger. Whatever else ends
// it, as a terminal's EIO, is its end.
type output struct{ f *os.File }

func (o output) Read(p []byte) (int, error) {
	n, err := o.f.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		o.f.SetReadDeadline(time.Now().Add(linger))
		n, err = o.f.Read(p)
	}
	if err != nil {
		err = io.EOF
	}
	return n, err
}
