package qemu

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// maxMessage bounds one line of QMP, in bytes; the longest that is asked for
// here has some hundred.
const maxMessage = 1 << 20

// maxEventText bounds an event's or error's words that are kept.
const maxEventText = 1 << 10

// message is a line from QEMU (QMP specification, docs/interop/qmp-spec.txt):
// a greeting, an answer or an event.
type message struct {
	Greeting json.RawMessage `json:"QMP"`

	ID     *uint64         `json:"id"`
	Return json.RawMessage `json:"return"`
	Error  *qmpError       `json:"error"`

	Event string          `json:"event"`
	Data  json.RawMessage `json:"data"`
}

type qmpError struct {
	Class string `json:"class"`
	Desc  string `json:"desc"`
}

func (e *qmpError) Error() string { return fmt.Sprintf("%.*s", maxEventText, e.Desc) }

// parseMessage reads one line; a line of no known kind is an error.
func parseMessage(line []byte) (message, error) {
	var m message
	if err := json.Unmarshal(line, &m); err != nil {
		return message{}, fmt.Errorf("read QMP: %w", err)
	}
	if m.Greeting == nil && m.Event == "" && m.Error == nil && m.Return == nil {
		return message{}, errors.New("read QMP: the line is neither greeting nor answer nor event")
	}
	return m, nil
}

// newScanner splits r into lines of at most maxMessage bytes; what is held
// grows with the longest line.
func newScanner(r io.Reader) *bufio.Scanner {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 4<<10), maxMessage)
	return lines
}

// qmp is a client of one QEMU's monitor.
type qmp struct {
	conn    net.Conn
	onEvent func(name string, data json.RawMessage) // called by the reader, in order
	greeted chan struct{}                           // closed by the reader
	done    chan struct{}                           // closed when the reader has ended

	write sync.Mutex // held over one command's write

	mu      sync.Mutex
	last    uint64
	pending map[uint64]chan message
	err     error // why the reader ended
}

// newQMP takes conn over and starts the reader. It reads until conn ends or is
// closed, or QEMU says something that is not QMP.
func newQMP(conn net.Conn, onEvent func(string, json.RawMessage)) *qmp {
	q := &qmp{
		conn: conn, onEvent: onEvent,
		greeted: make(chan struct{}), done: make(chan struct{}),
		pending: make(map[uint64]chan message),
	}
	go func() { // ends with conn
		defer close(q.done)
		err := q.read()
		q.mu.Lock()
		q.err = err
		q.mu.Unlock()
		conn.Close()
	}()
	return q
}

func (q *qmp) read() error {
	lines := newScanner(q.conn)
	for lines.Scan() {
		m, err := parseMessage(lines.Bytes())
		if err != nil {
			return err
		}
		switch {
		case m.Greeting != nil:
			select {
			case <-q.greeted:
				return errors.New("read QMP: a second greeting")
			default:
				close(q.greeted)
			}
		case m.Event != "":
			q.onEvent(m.Event, bytes.Clone(m.Data))
		case m.ID != nil:
			q.mu.Lock()
			answer := q.pending[*m.ID]
			delete(q.pending, *m.ID)
			q.mu.Unlock()
			if answer != nil {
				answer <- m // has room
			}
		case m.Error != nil: // no id: a command that QEMU could not read
			return m.Error
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read QMP: %w", err)
	}
	return io.EOF
}

// negotiate waits for the greeting and leaves negotiation mode. QEMU's answer
// comes from its main loop, so the machine stands when it is there.
func (q *qmp) negotiate(ctx context.Context) error {
	select {
	case <-q.greeted:
	case <-q.done:
		return q.ended()
	case <-ctx.Done():
		return ctx.Err()
	}
	return q.execute(ctx, "qmp_capabilities", nil)
}

// execute runs one command. An answer that comes after ctx is dropped.
func (q *qmp) execute(ctx context.Context, command string, arguments any) error {
	answer := make(chan message, 1)
	q.mu.Lock()
	q.last++
	id := q.last
	q.pending[id] = answer
	q.mu.Unlock()
	defer func() {
		q.mu.Lock()
		delete(q.pending, id)
		q.mu.Unlock()
	}()
	text, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
		ID        uint64 `json:"id"`
	}{command, arguments, id})
	if err != nil {
		return err
	}
	q.write.Lock()
	_, err = q.conn.Write(append(text, '\n'))
	q.write.Unlock()
	if err != nil {
		return fmt.Errorf("send QMP command %q: %w", command, err)
	}
	select {
	case m := <-answer:
		if m.Error != nil {
			return fmt.Errorf("run QMP command %q: %w", command, m.Error)
		}
		return nil
	case <-q.done:
		return q.ended()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (q *qmp) ended() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if errors.Is(q.err, io.EOF) {
		return errors.New("QEMU closed its monitor")
	}
	return q.err
}
