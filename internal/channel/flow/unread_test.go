package flow

import (
	"context"
	"errors"
	"testing"
)

// Who opens flows and reads no answer is cut off, and holds little.
func TestFlood(t *testing.T) {
	a, b := carrier(t)
	s := New(a, true, 10, func(f *Flow) { f.Refuse(1, string(make([]byte, maxText))) })
	defer s.Close()
	defer b.Close()
	for id := uint32(2); s.Err() == nil; id += 2 {
		if id > 10*maxGone {
			t.Fatal("the session goes on")
		}
		if _, err := b.Write(appendHeader(nil, kindOpen, id, 0)); err != nil {
			break
		}
	}
}

// Flows that are opened to an end which reads nothing, and are given up, leave nothing behind.
func TestGivenUpUnread(t *testing.T) {
	a, b := carrier(t)
	s := New(a, true, 0, nil)
	defer s.Close()
	defer b.Close()
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	const all = 10000
	for range all {
		if _, err := s.Open(ended, make([]byte, MaxHeader)); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.ready) > 1 || s.gone != 0 || len(s.flows) != 0 {
		t.Errorf("of %d flows that were given up %d wait for the carrier (%d), and %d are there", all, len(s.ready), s.gone, len(s.flows))
	}
}
