// Package flow carries many connections over one stream of a guest's channel, its
// carrier.
//
// A flow is opened by either end with a header that says what it is for, and begins
// when the other end has accepted it. It has a window of its own each way, so that a
// flow whose reader stalls holds up no other; an explicit end each way, as TCP has,
// which Firecracker's vsock and HTTP/2's server lack; and a reset. The end of the carrier
// resets all of its flows.
//
// It knows nothing of what headers say (package channel/netflow does), and is no place for bulk: exec
// and workspaces have streams of their own.
package flow

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Limits of a session.
const (
	// firstWindow is what may be sent on a new flow before the other end has read any, in
	// bytes. With MaxFlows stalled flows, 64 MiB are held.
	firstWindow = 16 << 10
	// maxWindow is what a window grows to while its reader keeps up, in bytes.
	maxWindow = 1 << 20
	// growthBudget bounds what all windows of a session have grown by, in bytes.
	growthBudget = 32 << 20
	// maxOut is what a flow takes from its writer before the carrier has taken it, in bytes.
	maxOut = 128 << 10
	// minOut is what it takes when all flows together hold outBudget, in bytes.
	minOut    = 8 << 10
	outBudget = 32 << 20
	// maxBatch is about what is written to the carrier at once, in bytes.
	maxBatch = 256 << 10
	// quietBatch is what is kept for the next batch while little is written, in bytes.
	quietBatch = 16 << 10
	// readAhead is what is read beyond a frame's header, in bytes; the rest of a large frame
	// is read to where it stays.
	readAhead = 4 << 10
	// MaxFlows bounds the flows of a session that the other end has opened.
	MaxFlows = 4096
	// maxGone bounds the refusals and resets that wait for the carrier: an end that
	// opens flows and reads no answer is not served.
	maxGone = 4 * MaxFlows
)

// ErrSession is what the flows of a session end with when it ends.
var ErrSession = errors.New("the carrier of the flow has ended")

// ErrReset is the end of a flow that the other end, or Reset, has ended.
var ErrReset = errors.New("the flow was reset")

// RefusedError is the other end's refusal of a flow.
type RefusedError struct {
	Code byte   // what it means is agreed on by the two ends; never 0
	Text string // at most 512 bytes, as the other end sent them: to be escaped
}

func (e *RefusedError) Error() string { return fmt.Sprintf("refused (%d): %q", e.Code, e.Text) }

// CodeTooMany refuses a flow beyond the session's limit.
const CodeTooMany = 255

// Session is one carrier's flows. Its methods may be called at once from several
// goroutines.
type Session struct {
	carrier io.ReadWriteCloser
	handle  func(*Flow)
	max     int
	running sync.WaitGroup // reader, writer and handlers

	mu     sync.Mutex
	flows  map[uint32]*Flow
	next   uint32 // the number of the next flow that is opened here
	heard  uint32 // the highest number that the other end has opened
	theirs int    // flows that the other end has opened
	busy   int    // handlers that have not returned
	grown  int    // of growthBudget
	out    int    // bytes of all flows that wait for the carrier or a window
	ready  []*Flow
	gone   int // flows in ready that are in flows no more
	wake   sync.Cond
	err    error
	done   chan struct{}
}

// New begins a session on carrier, which it owns. One end of a carrier is host, the
// other is not. handle is called for each flow that the other end opens, in a goroutine of its own,
// and accepts or refuses it; a flow that it leaves unanswered is refused. At most max
// of them, and of calls of handle, are there at once (MaxFlows at most; 0 is MaxFlows).
// Close ends the session.
func New(carrier io.ReadWriteCloser, host bool, max int, handle func(*Flow)) *Session {
	if max <= 0 || max > MaxFlows {
		max = MaxFlows
	}
	s := &Session{carrier: carrier, handle: handle, max: max, flows: map[uint32]*Flow{}, next: 2, done: make(chan struct{})}
	if host {
		s.next = 1
	}
	s.wake.L = &s.mu
	s.running.Go(s.read)  // ends with the carrier
	s.running.Go(s.write) // ends with the session
	return s
}

// Open opens a flow and waits until the other end has accepted it: a *RefusedError
// says that it has not. The end of ctx takes the flow back; after that it bounds nothing.
func (s *Session) Open(ctx context.Context, header []byte) (*Flow, error) {
	if len(header) > MaxHeader {
		return nil, fmt.Errorf("open a flow: its header has %d bytes, at most %d are allowed", len(header), MaxHeader)
	}
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return nil, ErrSession
	}
	if s.next >= 1<<32-2 {
		s.mu.Unlock()
		s.fail(errors.New("the carrier has no number left for a flow"))
		return nil, ErrSession
	}
	f := newFlow(s, s.next, header)
	s.next += 2
	s.flows[f.id] = f
	f.owe(oweOpen)
	for f.state == opening && f.err == nil && ctx.Err() == nil {
		f.wait(ctx)
	}
	defer s.mu.Unlock()
	if f.state == opening && f.err == nil {
		f.end(ctx.Err(), true)
	}
	if f.err != nil {
		return nil, f.err
	}
	return f, nil
}

// Flows returns how many flows there are.
func (s *Session) Flows() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.flows)
}

// Done is closed when the session has ended.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err is why the session has ended, nil before.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Close resets all flows, closes the carrier, and waits for handlers.
func (s *Session) Close() error {
	s.fail(ErrSession)
	s.running.Wait()
	return nil
}

// fail ends the session.
func (s *Session) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return
	}
	s.err = err
	for _, f := range s.flows {
		f.end(ErrSession, false)
	}
	close(s.done)
	s.wake.Broadcast()
	s.carrier.Close()
}

func (s *Session) read() {
	in := bufio.NewReaderSize(s.carrier, readAhead)
	base := new(buffer)
	for {
		f, err := readFrame(in, base[:])
		kept := false
		if err == nil {
			kept, err = s.take(f, base)
		}
		if kept {
			base = buffers.Get().(*buffer)
		}
		if err != nil {
			s.fail(fmt.Errorf("read from the carrier: %w", err))
			return
		}
	}
}

// take does what a frame says, whose payload is in base, and reports whether base was
// kept. An error is the other end's breach of the rules.
func (s *Session) take(fr frame, base *buffer) (kept bool, _ error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return false, s.err
	}
	if f := s.flows[fr.id]; f != nil && fr.kind == kindData {
		return f.receive(fr.payload, base)
	}
	return false, s.heed(fr)
}

// heed does what a frame of another kind says.
func (s *Session) heed(fr frame) error {
	if fr.kind == kindOpen {
		return s.opened(fr)
	}
	f := s.flows[fr.id]
	if f == nil {
		// One that has ended here, and not yet there.
		if fr.id%2 == s.next%2 && fr.id < s.next || fr.id%2 != s.next%2 && fr.id <= s.heard {
			return nil
		}
		return fmt.Errorf("a frame of flow %d, which was never opened", fr.id)
	}
	switch fr.kind {
	case kindAnswer:
		if f.state != opening || !f.ours {
			return fmt.Errorf("an answer on flow %d, which waits for none", f.id)
		}
		if code := fr.payload[0]; code != 0 {
			f.end(&RefusedError{Code: code, Text: string(fr.payload[1:])}, false)
			return nil
		}
		f.state = open
		f.wakeAll()
	case kindWindow:
		more := binary.BigEndian.Uint32(fr.payload)
		if more > maxWindow || f.outWindow+int(more) > 2*maxWindow {
			return fmt.Errorf("a window of %d bytes more on flow %d", more, f.id)
		}
		f.outWindow += int(more)
		f.schedule()
	case kindEnd:
		if f.inEnd || f.state != open {
			return fmt.Errorf("an end on flow %d, which has none to come", f.id)
		}
		f.inEnd = true
		f.wakeAll()
		f.leave()
	case kindReset:
		f.end(ErrReset, false)
	}
	return nil
}

// opened takes a flow that the other end opens. Numbers go up by two.
func (s *Session) opened(fr frame) error {
	if fr.id%2 == s.next%2 || fr.id <= s.heard {
		return fmt.Errorf("flow %d is opened after flow %d", fr.id, s.heard)
	}
	s.heard = fr.id
	f := newFlow(s, fr.id, append([]byte(nil), fr.payload...))
	f.ours = false
	if s.theirs >= s.max || s.busy >= s.max || s.gone >= maxGone {
		if s.gone >= maxGone {
			return errors.New("the other end opens flows and reads no answers")
		}
		f.answer = &RefusedError{Code: CodeTooMany, Text: fmt.Sprintf("there are %d flows already", max(s.theirs, s.busy))}
		f.err = f.answer
		f.owe(oweAnswer)
		s.gone++
		return nil
	}
	s.theirs++
	s.busy++
	s.flows[f.id] = f
	s.running.Go(func() { // the handler ends with its flow, or soon after
		s.handle(f)
		f.Refuse(CodeTooMany, "nobody has answered")
		s.mu.Lock()
		defer s.mu.Unlock()
		s.busy--
	})
	return nil
}
