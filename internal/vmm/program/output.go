package program

import (
	"io"
	"sync"
)

// Output is what a VMM writes to a pipe or socket, to be read by one goroutine.
// What was written before the VMM's end can still be read after it, so the
// reader closes the descriptor, at its end, and not the machine.
type Output struct {
	r io.ReadCloser

	mu   sync.Mutex
	used bool
}

// NewOutput takes r over.
func NewOutput(r io.ReadCloser) *Output { return &Output{r: r} }

// Read implements io.Reader.
func (o *Output) Read(p []byte) (int, error) {
	o.mu.Lock()
	o.used = true
	o.mu.Unlock()
	n, err := o.r.Read(p)
	if err != nil {
		o.r.Close()
		err = io.EOF // the end of the descriptor, whatever its form, is the VMM's
	}
	return n, err
}

// Abandon closes a descriptor that nobody has read from.
func (o *Output) Abandon() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.used {
		o.r.Close()
	}
}
