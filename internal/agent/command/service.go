// Package command runs a guest's commands: it serves the exec port, one process
// a stream, with root's environment. What is said on a stream is package
// channel/exec's.
package command

import (
	"net"
	"os"
	"sync"
	"sync/atomic"

	"banger/internal/channel/exec"
)

// Service starts processes, one a stream. The zero value is the guest's own.
type Service struct {
	// Env are KEY=VALUE pairs that each session has in the place of root's own;
	// a request's come after them. They are set before Serve.
	Env []string
	// Agent is the argument vector of the agent's own program, without the
	// arguments that a request has. It is set before Serve.
	Agent []string
	// Groups are where each process gets a control group. They are set before Serve.
	Groups *Groups

	// Hear, if it is set, is told the host's time that a request carries, before its
	// process is started.
	Hear func(unixNano int64)
	// AgentDone, if it is set, is called when a session of the agent's own program has
	// ended.
	AgentDone func()

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

// run is one session of package channel/exec: a request, a process, its status.
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
	s.session(req, Terminal{}, &stream{conn: c, in: in, out: out, held: req.Held, queue: newInput()})
}

// session starts a process and returns when it and all that belongs to it has ended.
func (s *Service) session(req exec.Request, t Terminal, c client) {
	p, status := start(req, t, s.Env, s.Agent, s.Groups)
	if p == nil {
		c.status(status)
		c.close()
		return
	}
	s.count.Add(1)
	defer s.count.Add(-1)
	if req.Agent && s.AgentDone != nil {
		defer s.AgentDone()
	}

	c.begin()
	ended := make(chan struct{})
	var feeding sync.WaitGroup
	feeding.Go(func() { // ends when the client is gone, which c.close below brings
		c.feed(p)
		select {
		case <-ended:
		default:
			p.hangUp() // the client is gone
		}
	})
	if p.stdin == nil {
		c.endInput()
	} else {
		feeding.Go(func() { c.pump(p) }) // ends with the input, or by c.endInput, c.close and p.stdin.Close below
	}
	var outputs []*output
	var draining sync.WaitGroup
	for t, f := range map[exec.Type]*os.File{exec.TypeStdout: p.stdout, exec.TypeStderr: p.stderr} {
		if f != nil {
			o := &output{f: f, tty: p.tty}
			outputs = append(outputs, o)
			draining.Go(func() { drain(c, t, o) }) // ends with the process, see output
		}
	}
	status = p.wait()
	close(ended)
	for _, o := range outputs {
		o.processEnded()
	}
	draining.Wait()
	c.status(status)
	p.group.end()
	c.endInput()
	for _, f := range []*os.File{p.stdin, p.terminal} {
		if f != nil {
			f.Close()
		}
	}
	c.close()
	for _, o := range outputs {
		go o.discard() // ends with the last process that writes there
	}
	feeding.Wait()
}
