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
	"strconv"
	"time"

	"banger/internal/channel"
	"banger/internal/hint"
	"banger/internal/unixsock"
)

// Upgrade is the protocol that a supervisor turns a connection into: raw bytes
// to the guest's service.
const Upgrade = "banger-stream"

// Header carries Protocol on a dial and on its answer: the version of what is
// said to a supervisor's socket. A supervisor outlives the programs that it was
// started with, so it answers older and newer callers, or refuses in words.
const (
	Header   = "Banger-Supervisor"
	Protocol = 2
	// AgentHeader carries the channel.Protocol of the guest's agent on a dial's answer.
	AgentHeader = "Banger-Agent"
)

// dialLimit bounds the opening of a stream: the guest's agent answers in
// milliseconds, an emulated one that is busy in a second or two.
const dialLimit = 20 * time.Second

// Refusal is a supervisor's own answer to a dial that it can't serve. The
// supervisor's hint, if it gave one, is on the error as package hint has it.
type Refusal struct {
	Code    string // one of package api's codes; "" when none was given
	Message string
}

func (r *Refusal) Error() string { return r.Message }

// stream is a dialled connection. What the answer's reader had taken beyond the
// answer comes first; after it, reads go to the connection itself.
type stream struct {
	*net.UnixConn
	rest  []byte
	agent int // the channel.Protocol of the guest's agent
}

func (s *stream) Read(p []byte) (int, error) {
	if len(s.rest) > 0 {
		n := copy(p, s.rest)
		s.rest = s.rest[n:]
		return n, nil
	}
	return s.UnixConn.Read(p)
}

// WriteTo implements io.WriterTo. Without it io.Copy to a file has the kernel read the
// connection itself (splice(2)), and rest is lost.
func (s *stream) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(s.rest)
	s.rest = s.rest[n:]
	if err != nil {
		return int64(n), err
	}
	more, err := io.Copy(w, s.UnixConn)
	return int64(n) + more, err
}

// Dial opens a stream to the service on port of the guest whose supervisor
// listens on socket. It speaks only to a supervisor of this process's user. ctx
// bounds the opening, not the stream.
func Dial(ctx context.Context, socket string, port uint32) (channel.Stream, error) {
	return dial(ctx, socket, "/v1/dial?port="+strconv.FormatUint(uint64(port), 10))
}

// DialConsole opens the serial console of the VM whose supervisor listens on socket:
// what is written is typed there, what it shows from now on is read. It ends with
// the VM. A supervisor of an earlier version refuses.
func DialConsole(ctx context.Context, socket string) (channel.Stream, error) {
	return dial(ctx, socket, "/v1/keys")
}

func dial(ctx context.Context, socket, path string) (channel.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	c, err := unixsock.DialOwn(ctx, socket)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	s, err := ask(c, path)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		c.Close()
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, fmt.Errorf("dial the guest: no answer in %v: %w", dialLimit, ErrBroken)
		}
		return nil, errors.Join(ctx.Err(), err)
	}
	return s, nil
}

func ask(c *net.UnixConn, path string) (channel.Stream, error) {
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: supervisor\r\nConnection: Upgrade\r\nUpgrade: %s\r\n%s: %d\r\n\r\n", path, Upgrade, Header, Protocol); err != nil {
		return nil, fmt.Errorf("dial the guest: %w", err)
	}
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return nil, fmt.Errorf("dial the guest: %w", err)
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		rest, _ := r.Peek(r.Buffered())
		agent, err := strconv.Atoi(resp.Header.Get(AgentHeader))
		if err != nil { // a supervisor of an earlier version does not know
			agent = channel.ProtocolMin
		}
		return &stream{c, rest, agent}, nil
	}
	defer resp.Body.Close()
	return nil, refusal(resp)
}

// maxRefusal bounds a refusal, in bytes.
const maxRefusal = 64 << 10

func refusal(resp *http.Response) error {
	var text struct{ Code, Message, Hint string }
	if json.NewDecoder(io.LimitReader(resp.Body, maxRefusal)).Decode(&text) != nil || text.Message == "" {
		return &Refusal{Code: text.Code, Message: "dial the guest: " + resp.Status}
	}
	err := error(&Refusal{text.Code, text.Message})
	if text.Hint != "" {
		err = hint.Add(err, text.Hint)
	}
	return err
}
