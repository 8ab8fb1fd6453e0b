// Package session is the client's side of a process in a guest: it dials the
// guest through the VM's supervisor, copies bytes, passes signals and window
// sizes on, and returns the process's status. The daemon has no part in it.
package session

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"

	"banger/internal/api"
	"banger/internal/channel"
	"banger/internal/channel/exec"
	"banger/internal/unixsock"
)

// upgrade is the protocol that a supervisor turns a connection into.
const upgrade = "banger-stream"

// dialLimit bounds the opening of a stream: the guest's agent answers in
// milliseconds, an emulated one that is busy in a second or two.
const dialLimit = 30 * time.Second

// ErrBroken says that the stream ended before the process did: the VM, its
// supervisor or the guest's agent is gone.
var ErrBroken = errors.New("the connection to the guest broke")

// stream is a dialled connection; what the HTTP reader had buffered comes first.
type stream struct {
	*net.UnixConn
	r *bufio.Reader
}

func (s *stream) Read(p []byte) (int, error) { return s.r.Read(p) }

// Dial opens a stream to the service on port of the guest whose supervisor
// listens on socket. ctx bounds the opening alone.
func Dial(ctx context.Context, socket string, port uint32) (channel.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	c, err := unixsock.Dial(ctx, socket)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	s, err := ask(c, port)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		c.Close()
		return nil, errors.Join(ctx.Err(), err)
	}
	return s, nil
}

func ask(c *net.UnixConn, port uint32) (channel.Stream, error) {
	if _, err := fmt.Fprintf(c, "GET /v1/dial?port=%d HTTP/1.1\r\nHost: supervisor\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", port, upgrade); err != nil {
		return nil, fmt.Errorf("dial the guest: %w", err)
	}
	r := bufio.NewReaderSize(c, exec.MaxData+1024)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return nil, fmt.Errorf("dial the guest: %w", err)
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return &stream{c, r}, nil
	}
	defer resp.Body.Close()
	f := &api.Fault{Code: api.CodeState}
	if json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(f) != nil || f.Message == "" {
		f.Message = "dial the guest: " + resp.Status
	}
	return nil, f
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
// a last read. Where Stdout can't be written any more the session ends as a
// process on the host would: by SIGPIPE. ctx ends the session, and the process
// with it.
func Run(ctx context.Context, s channel.Stream, o Options) (exec.Status, error) {
	defer s.Close()
	defer context.AfterFunc(ctx, func() { s.Close() })()
	w := exec.NewWriter(s)
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
		if err := w.Copy(exec.TypeStdin, o.Stdin); err != nil {
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
	return receive(ctx, s, o)
}

// receive copies the process's output until its status comes.
func receive(ctx context.Context, s io.Reader, o Options) (exec.Status, error) {
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
