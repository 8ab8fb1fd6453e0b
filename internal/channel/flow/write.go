package flow

import (
	"encoding/binary"
	"fmt"
)

// write sends what flows owe and have, each in its turn, a frame of data a turn: what
// is written meanwhile is gathered.
func (s *Session) write() {
	var batch []byte
	for {
		s.mu.Lock()
		for len(s.ready) == 0 && s.err == nil {
			s.wake.Wait()
		}
		if s.err != nil {
			s.mu.Unlock()
			return
		}
		batch = batch[:0]
		for len(s.ready) > 0 && len(batch) < maxBatch {
			f := s.ready[0]
			s.ready[0] = nil
			s.ready = s.ready[1:]
			f.queued = false
			batch = f.appendFrames(batch)
		}
		s.mu.Unlock()
		if len(batch) == 0 {
			continue
		}
		if _, err := s.carrier.Write(batch); err != nil {
			s.fail(fmt.Errorf("write to the carrier: %w", err))
			return
		}
		if cap(batch) > quietBatch && len(batch) < quietBatch {
			batch = nil // a quiet session holds little
		}
	}
}

// appendFrames appends what f owes and one frame of its data.
func (f *Flow) appendFrames(b []byte) []byte {
	owes := f.owes
	f.owes = 0
	if f.s.flows[f.id] != f && f.err != nil {
		f.s.gone--
	}
	if owes&oweOpen != 0 {
		b = append(appendHeader(b, kindOpen, f.id, len(f.header)), f.header...)
	}
	if owes&oweAnswer != 0 {
		if f.answer != nil {
			b = append(appendHeader(b, kindAnswer, f.id, 1+len(f.answer.Text)), f.answer.Code)
			b = append(b, f.answer.Text...)
		} else {
			b = append(appendHeader(b, kindAnswer, f.id, 1), 0)
		}
	}
	if owes&oweReset != 0 {
		return appendHeader(b, kindReset, f.id, 0)
	}
	if f.err != nil {
		return b
	}
	if owes&oweWindow != 0 && f.taken > 0 {
		b = binary.BigEndian.AppendUint32(appendHeader(b, kindWindow, f.id, 4), uint32(f.taken))
		f.inWindow += f.taken
		f.taken = 0
	}
	if f.state != open {
		return b
	}
	if n := min(f.outHeld, f.outWindow, maxData); n > 0 {
		n = min(n, len(f.out[0].data))
		b = append(appendHeader(b, kindData, f.id, n), f.out[0].data[:n]...)
		f.outWindow -= n
		f.outHeld -= n
		f.s.out -= n
		if f.out = advance(f.out, n); len(f.out) == 0 {
			f.out = nil // an idle flow holds nothing
		}
		f.wakeAll()
	}
	switch {
	case f.outHeld > 0:
		if f.outWindow > 0 {
			f.schedule()
		}
	case f.outEnd && !f.endSent:
		b = appendHeader(b, kindEnd, f.id, 0)
		f.endSent = true
		f.leave()
	}
	return b
}
