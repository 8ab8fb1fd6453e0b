// Package session is the host's side of a process in a guest: it dials the guest
// through the VM's supervisor, copies bytes, passes signals and window sizes on,
// and returns the process's status. It knows no terminal and no daemon, so both
// the CLI and the daemon can hold a session.
package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"banger/internal/channel"
	"banger/internal/channel/exec"
)

// ErrBroken says that the stream ended before the process did. The cause is
// unknown here: the VM, its supervisor or the guest's agent is gone, and the
// daemon knows which.
var ErrBroken = errors.New("the connection to the guest broke")

// OldAgentError is a guest's agent of an earlier version, which would leave out a part
// of what is asked of it without a word.
type OldAgentError struct{ What string }

func (e *OldAgentError) Error() string {
	return "the guest's agent is of an earlier version of banger, and does not know " + e.What
}

// Options are one session's ends.
type Options struct {
	Request        exec.Request
	Stdin          io.Reader // nil is an empty one
	Stdout, Stderr io.Writer
	Signals        <-chan os.Signal // passed on; nil for none
	Sizes          <-chan exec.Size // a terminal's new sizes; nil for none
}

// Run starts the process that o asks for on s and returns its status; s is
// closed then. It does not wait for Stdin, whose reader may be left blocked in
// a last read. If Stdout can't be written any more, the session ends as a
// process on the host would: by SIGPIPE. ctx ends the session, and the process
// with it.
func Run(ctx context.Context, s channel.Stream, o Options) (exec.Status, error) {
	defer s.Close()
	defer context.AfterFunc(ctx, func() { s.Close() })()
	if s, ok := s.(*stream); ok {
		if protocol, what := o.Request.Needs(); s.agent < protocol {
			return exec.Status{}, &OldAgentError{what}
		}
	}
	w := exec.NewWriter(s)
	o.Request.Held = true
	o.Request.UnixNano = time.Now().UnixNano()
	stdin := newHeld(o.Stdin)
	defer stdin.end()
	defer time.AfterFunc(agentLimit, stdin.silent).Stop()
	if err := w.WriteRequest(o.Request); err != nil {
		return exec.Status{}, fmt.Errorf("ask for the process: %w", err)
	}
	// Ends with the stream; a read of a terminal that nobody types at may
	// outlast it, and ends with the program.
	go func() {
		if o.Stdin == nil {
			w.Write(exec.TypeStdin, nil)
			return
		}
		if err := w.Copy(exec.TypeStdin, stdin); err != nil {
			w.Write(exec.TypeStdin, nil) // what can't be read is at its end
		}
	}()
	over := make(chan struct{})
	var passing sync.WaitGroup
	defer passing.Wait()
	defer close(over)
	passing.Go(func() { // ends with over
		for {
			select {
			case sig := <-o.Signals:
				if n, ok := sig.(syscall.Signal); ok && n > 0 && n < 65 {
					w.Write(exec.TypeSignal, []byte{byte(n)})
				}
			case size := <-o.Sizes:
				w.WriteResize(size)
			case <-over:
				return
			}
		}
	})
	return receive(ctx, s, o, stdin)
}

// RunAgent runs the agent's own program in the guest whose supervisor listens on
// socket, and waits for its end. What it says on stderr is in the error, escaped.
func RunAgent(ctx context.Context, socket string, args []string, in io.Reader, out io.Writer) error {
	s, err := Dial(ctx, socket, channel.PortExec)
	if err != nil {
		return err
	}
	return RunAgentOn(ctx, s, args, in, out)
}

// RunAgentOn is RunAgent on a stream to the guest's exec port.
func RunAgentOn(ctx context.Context, s channel.Stream, args []string, in io.Reader, out io.Writer) error {
	errs := &head{left: 2 << 10}
	status, err := Run(ctx, s, Options{Request: exec.Request{Argv: exec.Args(args...), Agent: true}, Stdin: in, Stdout: out, Stderr: errs})
	switch {
	case err != nil:
		return err
	case status.Kind != exec.Exited || status.Code != 0:
		return fmt.Errorf("the guest's agent ended with status %d: %q", status.ExitCode(), errs.String()+status.Message)
	}
	return nil
}

// Output runs a command in the guest whose supervisor listens on socket, without
// input, and returns the first 4 KiB of its stdout.
func Output(ctx context.Context, socket string, words ...string) (string, exec.Status, error) {
	s, err := Dial(ctx, socket, channel.PortExec)
	if err != nil {
		return "", exec.Status{}, err
	}
	out := &head{left: 4 << 10}
	status, err := Run(ctx, s, Options{Request: exec.Request{Argv: exec.Args(words...)}, Stdout: out, Stderr: io.Discard})
	return out.String(), status, err
}

// head keeps the beginning of what is written.
type head struct {
	strings.Builder
	left int
}

func (h *head) Write(p []byte) (int, error) {
	n := min(h.left, len(p))
	h.left -= n
	h.Builder.Write(p[:n])
	return len(p), nil
}

// receive copies the process's output until its status comes.
func receive(ctx context.Context, s io.Reader, o Options, stdin *held) (exec.Status, error) {
	r := exec.NewReader(s)
	for {
		t, p, err := r.Next()
		switch {
		case ctx.Err() != nil:
			return exec.Status{}, ctx.Err()
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), errors.Is(err, syscall.ECONNRESET):
			return exec.Status{}, ErrBroken
		case err != nil:
			return exec.Status{}, fmt.Errorf("read from the guest: %w", err)
		}
		stdin.hear(t, p)
		out := o.Stdout
		switch t {
		case exec.TypeStderr:
			out = o.Stderr
			fallthrough
		case exec.TypeStdout:
			if len(p) == 0 {
				continue
			}
			if _, err := out.Write(p); err != nil {
				if errors.Is(err, syscall.EPIPE) {
					return exec.Status{Kind: exec.Signalled, Signal: int(syscall.SIGPIPE)}, nil
				}
				return exec.Status{}, fmt.Errorf("write the guest's output: %w", err)
			}
		case exec.TypeExit:
			return exec.ParseStatus(p)
		}
	}
}
