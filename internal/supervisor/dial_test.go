package supervisor

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"banger/internal/channel"
)

// spent is a guest's stream whose process has ended: it takes nothing, and its
// last words come when the input was refused.
type spent struct {
	channel.Stream
	refused, closed chan struct{}
	once            sync.Once
	said            bool
}

func (s *spent) Write([]byte) (int, error) {
	close(s.refused)
	return 0, net.ErrClosed
}

func (s *spent) Read(p []byte) (int, error) {
	<-s.refused
	if s.said {
		return 0, io.EOF
	}
	s.said = true
	select {
	case <-s.closed: // too early: what was not read is lost
		return 0, net.ErrClosed
	case <-time.After(50 * time.Millisecond):
	}
	return copy(p, "status"), nil
}

func (s *spent) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

func TestBridgeBringsLastWords(t *testing.T) {
	ours, theirs := net.Pipe()
	guest := &spent{refused: make(chan struct{}), closed: make(chan struct{})}
	done := make(chan struct{})
	go func() { // ends with guest's last words
		bridge(theirs, theirs, guest)
		close(done)
	}()
	ours.Write([]byte("input"))
	if got, err := io.ReadAll(ours); string(got) != "status" {
		t.Errorf("the client read %q, %v; want the guest's last words", got, err)
	}
	ours.Close()
	<-done
}
