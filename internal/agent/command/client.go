package command

import (
	"io"
	"net"
	"syscall"

	"golang.org/x/sys/unix"

	"banger/internal/channel/exec"
)

// client is a session's other end. session calls its methods in this order: begin, then
// feed, pump and copy at once, status, endInput, close.
type client interface {
	begin()
	// feed does to p what the client says, until it is gone.
	feed(p *process)
	// pump gives p its input, until that ends, or p takes no more.
	pump(p *process)
	// copy sends what r gives, to its end.
	copy(t exec.Type, r io.Reader) error
	status(s exec.Status)
	// endInput drops input that nobody has taken.
	endInput()
	// close ends feed and pump.
	close()
}

// stream is the host's end of a stream of package channel/exec.
type stream struct {
	conn  net.Conn
	in    *exec.Reader
	out   *exec.Writer
	held  bool // the host holds input back
	queue *input
}

func (s *stream) begin() {
	if s.held {
		s.out.WriteTaken(0)
	}
}

// feed never waits for the process, if the host holds its input back.
func (s *stream) feed(p *process) {
	for {
		t, b, err := s.in.Next()
		if err != nil {
			return
		}
		switch t {
		case exec.TypeStdin:
			if len(b) == 0 {
				s.queue.end()
			} else {
				s.queue.add(b)
			}
		case exec.TypeResize:
			if size, err := exec.ParseResize(b); err == nil {
				p.resize(size)
			}
		case exec.TypeSignal:
			if len(b) == 1 && b[0] > 0 && b[0] <= 64 {
				p.signal(syscall.Signal(b[0]))
			}
		}
	}
}

// pump tells the host what was taken, if the host holds input back.
func (s *stream) pump(p *process) {
	var b []byte
	taken := 0
	last := byte('\n')
	for {
		if b = s.queue.take(b); len(b) == 0 {
			break
		}
		last = b[len(b)-1]
		for rest := b; len(rest) > 0; {
			n, err := p.stdin.Write(rest[:min(piece, len(rest))])
			rest = rest[n:]
			if taken += n; s.held && taken >= unsaid {
				s.out.WriteTaken(taken) // an error is the stream's end, which feed sees
				taken = 0
			}
			if err != nil && !p.tty { // the process takes no more, and the host sends no more
				s.queue.close()
				p.stdin.Close()
				return
			}
			if err != nil {
				break // nobody has the terminal open now
			}
		}
	}
	p.closeInput(last)
}

func (s *stream) copy(t exec.Type, r io.Reader) error { return s.out.Copy(t, r) }
func (s *stream) status(st exec.Status)               { s.out.WriteStatus(st) }
func (s *stream) endInput()                           { s.queue.close() }
func (s *stream) close()                              { s.conn.Close() }

// Client is the other end of a session that is no stream of package channel/exec, as an
// SSH channel.
type Client interface {
	// Read returns the process's input. Its end is the input's end, not the client's.
	io.Reader
	// Output is where the process's output of that type goes.
	Output(t exec.Type) io.Writer
	// Events is closed when the client is gone; the process is hung up then.
	Events() <-chan Event
	// Ended is called once, after all output.
	Ended(s exec.Status)
	// Close lets Read return.
	Close() error
}

// Event is a terminal's new size, or a signal.
type Event struct {
	Size   exec.Size      // if Signal is 0
	Signal syscall.Signal // 1 to 64
}

// Terminal is what a Client wants of a pseudo-terminal beside its size.
type Terminal struct {
	// Variable is the name of a variable that gets the terminal's path; "" for none.
	Variable string
	// Change changes the terminal's settings before the process has it; nil leaves them.
	Change func(*unix.Termios)
}

// Run runs the process that req asks for, with c as its other end, and returns when the
// session has ended. t counts if req asks for a pseudo-terminal. It closes c.
func (s *Service) Run(req exec.Request, t Terminal, c Client) {
	s.session(req, t, &direct{c, make(chan struct{})})
}

// direct is a Client's end.
type direct struct {
	Client
	over chan struct{} // closed by close
}

func (*direct) begin() {}

func (d *direct) feed(p *process) {
	events := d.Events()
	for {
		select {
		case e, ok := <-events:
			switch {
			case !ok:
				return
			case e.Signal != 0:
				p.signal(e.Signal)
			default:
				p.resize(e.Size)
			}
		case <-d.over:
			return
		}
	}
}

// pump reads no more than the process takes: the client's own flow control holds the
// rest back.
func (d *direct) pump(p *process) {
	b := make([]byte, directPiece)
	last := byte('\n')
	for {
		n, err := d.Read(b)
		if n > 0 {
			last = b[n-1]
			if _, werr := p.stdin.Write(b[:n]); werr != nil && !p.tty {
				p.stdin.Close()
				return
			}
		}
		if err != nil {
			break
		}
	}
	p.closeInput(last)
}

// directPiece is what one read of a Client's input takes at most, in bytes: an SSH packet
// has no more.
const directPiece = 32 << 10

func (d *direct) copy(t exec.Type, r io.Reader) error {
	_, err := io.Copy(d.Output(t), struct{ io.Reader }{r})
	return err
}

func (d *direct) status(s exec.Status) { d.Ended(s) }
func (*direct) endInput()              {}

func (d *direct) close() {
	close(d.over)
	d.Close()
}
