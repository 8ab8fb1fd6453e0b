package flow

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
)

// state of a flow, before its end.
type state byte

const (
	opening state = iota // not yet accepted
	open
)

// What a flow owes to the other end beside its data.
const (
	oweOpen = 1 << iota
	oweAnswer
	oweWindow
	oweReset
)

// Flow is one connection. Read and Write may each be called by one goroutine at a
// time, all else by any.
type Flow struct {
	s      *Session
	id     uint32
	header []byte
	ours   bool // opened by this end

	// All below is under the session's mutex.
	state  state
	err    error // the flow has ended
	answer *RefusedError
	owes   byte
	queued bool // in the session's ready
	change sync.Cond

	in       []chunk // received and not read
	held     int     // bytes in in
	inWindow int     // what the other end may still send
	window   int     // what inWindow is when all is read
	taken    int     // read since the last word of it
	inEnd    bool

	out       []chunk // written and not sent
	outHeld   int     // bytes in out
	outWindow int
	outEnd    bool // out is all
	endSent   bool
}

func newFlow(s *Session, id uint32, header []byte) *Flow {
	f := &Flow{s: s, id: id, header: header, ours: true, inWindow: firstWindow, window: firstWindow, outWindow: firstWindow}
	f.change.L = &s.mu
	return f
}

// Header is what the flow was opened with.
func (f *Flow) Header() []byte { return f.header }

// Accept begins a flow that the other end has opened.
func (f *Flow) Accept() error {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	if f.err != nil {
		return f.err
	}
	if f.ours || f.state != opening {
		return fmt.Errorf("accept a flow that is open")
	}
	f.state = open
	f.owe(oweAnswer)
	return nil
}

// Refuse refuses a flow that the other end has opened, with a code that is not 0 and
// at most 512 bytes of text. A flow that is accepted, refused or gone stays as it is.
func (f *Flow) Refuse(code byte, text string) {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	if f.ours || f.state != opening || f.err != nil {
		return
	}
	f.answer = &RefusedError{Code: code, Text: text[:min(len(text), maxText)]}
	f.owe(oweAnswer)
	f.end(f.answer, false)
}

// Done waits for the flow's end, or until the other end has taken the flow back while
// it is unanswered, and returns nil then; the end of ctx is an error.
func (f *Flow) Done(ctx context.Context) error {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	for f.err == nil && ctx.Err() == nil {
		f.wait(ctx)
	}
	if f.err == nil {
		return ctx.Err()
	}
	return nil
}

// Read reads what the other end has sent: io.EOF after its end, ErrReset or
// ErrSession if the flow was cut.
func (f *Flow) Read(p []byte) (int, error) {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	if err := f.awaitInput(); err != nil || len(p) == 0 {
		return 0, err
	}
	n := copy(p, f.in[0].data)
	f.in = advance(f.in, n)
	f.read(n)
	return n, nil
}

// WriteTo writes to w what the other end sends, until its end, without a buffer of its
// own. What has come together is written together.
func (f *Flow) WriteTo(w io.Writer) (written int64, err error) {
	var taken [maxTogether]chunk
	var together together
	for {
		f.s.mu.Lock()
		if err := f.awaitInput(); err != nil {
			f.s.mu.Unlock()
			if err == io.EOF {
				err = nil
			}
			return written, err
		}
		n := copy(taken[:], f.in)
		clear(f.in[:n])
		f.in = f.in[n:]
		f.s.mu.Unlock()
		m, err := together.write(w, taken[:n])
		for i := range taken[:n] {
			taken[i].free()
		}
		written += m
		if err != nil {
			return written, err
		}
		f.s.mu.Lock()
		f.read(int(m))
		f.s.mu.Unlock()
	}
}

// awaitInput waits for something in in. The mutex is held.
func (f *Flow) awaitInput() error {
	for len(f.in) == 0 {
		switch {
		case f.err != nil:
			return f.err
		case f.inEnd:
			return io.EOF
		}
		f.change.Wait()
	}
	return nil
}

// read takes note of n bytes that were read, gives their room back to the other end
// and more, if the reader keeps up.
func (f *Flow) read(n int) {
	f.held -= n
	f.taken += n
	if f.taken < f.window/2 || f.inEnd || f.err != nil {
		return
	}
	if more := min(f.window, maxWindow-f.window); f.held < f.window/2 && f.s.grown+more <= growthBudget {
		f.s.grown += more
		f.window += more
		f.taken += more
	}
	f.owe(oweWindow)
}

// receive takes data of the other end, which is in base. It reports whether it keeps
// base, and not a copy.
func (f *Flow) receive(p []byte, base *buffer) (kept bool, _ error) {
	if f.state != open || f.inEnd || len(p) > f.inWindow {
		return false, fmt.Errorf("%d bytes on flow %d, which takes %d", len(p), f.id, f.inWindow)
	}
	f.inWindow -= len(p)
	f.held += len(p)
	if kept = len(p) > shared; kept {
		f.in = append(f.in, chunk{p, base})
	} else {
		f.in = add(f.in, p, f.held)
	}
	f.wakeAll()
	return kept, nil
}

// Write sends p. It returns when p has been taken, not when it has arrived.
func (f *Flow) Write(p []byte) (n int, err error) {
	n, _, err = f.write(p, nil)
	return n, err
}

// write sends p. If p is in base, it may keep base, and not a copy: then all of p is taken.
func (f *Flow) write(p []byte, base *buffer) (n int, kept bool, err error) {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	for len(p) > 0 {
		for f.room() <= 0 && f.err == nil {
			f.change.Wait()
		}
		switch {
		case f.err != nil:
			return n, false, f.err
		case f.outEnd:
			return n, false, io.ErrClosedPipe
		case f.state != open:
			return n, false, fmt.Errorf("write to a flow that is not accepted")
		}
		m := min(len(p), f.room())
		f.outHeld += m
		f.s.out += m
		if kept = base != nil && m == len(p) && m > shared; kept {
			f.out = append(f.out, chunk{p, base})
		} else {
			f.out = add(f.out, p[:m], f.outHeld)
		}
		n, p = n+m, p[m:]
		f.schedule()
	}
	return n, kept, nil
}

// room is how much out takes.
func (f *Flow) room() int {
	if f.s.out < outBudget {
		return maxOut - f.outHeld
	}
	return minOut - f.outHeld
}

// CloseWrite says that all is written. The other end reads io.EOF after it.
func (f *Flow) CloseWrite() error {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	if f.err != nil {
		return f.err
	}
	f.outEnd = true
	f.schedule()
	return nil
}

// Reset ends the flow both ways: the other end's reads and writes fail with ErrReset.
// After the end of both ways it does nothing.
func (f *Flow) Reset() {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	if !f.inEnd || !f.outEnd { // else what is left is on its way
		f.end(ErrReset, true)
	}
}

// Close is Reset.
func (f *Flow) Close() error {
	f.Reset()
	return nil
}

// end ends the flow with err; tell says that the other end does not know.
func (f *Flow) end(err error, tell bool) {
	if f.err != nil || f.s.flows[f.id] != f {
		return
	}
	f.err = err
	f.s.out -= f.outHeld
	f.in, f.held, f.out, f.outHeld = nil, 0, nil, 0
	f.remove()
	if tell {
		f.owes &^= oweWindow
		if f.owes&oweOpen != 0 { // never said, and the carrier may take nothing for long
			f.owes, f.queued = 0, false
			f.s.ready = slices.DeleteFunc(f.s.ready, func(o *Flow) bool { return o == f })
		} else {
			f.owe(oweReset)
		}
	}
	if f.queued {
		f.s.gone++
	}
	f.wakeAll()
}

// leave forgets a flow whose both ways have ended; what was received can be read still.
func (f *Flow) leave() {
	if f.inEnd && f.endSent && f.s.flows[f.id] == f {
		f.remove()
	}
}

func (f *Flow) remove() {
	delete(f.s.flows, f.id)
	f.s.grown -= f.window - firstWindow
	if !f.ours {
		f.s.theirs--
	}
}

func (f *Flow) owe(what byte) {
	f.owes |= what
	f.schedule()
}

// schedule lets the writer look at f.
func (f *Flow) schedule() {
	if f.queued || f.s.err != nil {
		return
	}
	f.queued = true
	f.s.ready = append(f.s.ready, f)
	f.s.wake.Signal()
}

func (f *Flow) wakeAll() { f.change.Broadcast() }

// wait waits for a change of f, or the end of ctx. The mutex is held.
func (f *Flow) wait(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() {
		f.s.mu.Lock()
		defer f.s.mu.Unlock()
		f.wakeAll()
	})
	f.change.Wait()
	stop()
}
