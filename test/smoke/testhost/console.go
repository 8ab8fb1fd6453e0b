package testhost

import (
	"bytes"
	"io"
	"sync"
)

// console keeps the end of a machine's console, and counts its boots.
type console struct {
	mu      sync.Mutex
	text    []byte
	line    []byte // the last one, not yet whole
	count   int
	waiting map[int]chan struct{} // closed at the boot of that number
}

func newConsole() *console { return &console{waiting: map[int]chan struct{}{}} }

func (c *console) read(r io.Reader) {
	b := make([]byte, 4096)
	for {
		n, err := r.Read(b)
		c.add(b[:n])
		if err != nil {
			return
		}
	}
}

func (c *console) add(p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.text = append(c.text, p...); len(c.text) > 2*maxConsole {
		c.text = append([]byte(nil), c.text[len(c.text)-maxConsole:]...)
	}
	c.line = append(c.line, p...)
	for {
		line, rest, whole := bytes.Cut(c.line, []byte("\n"))
		if !whole {
			break
		}
		c.line = rest
		if bytes.Contains(line, []byte(readyLine)) {
			c.count++
			close(c.at(c.count))
		}
	}
	if len(c.line) > maxConsole {
		c.line = nil
	}
}

// at is the channel of the boot n. The lock is held.
func (c *console) at(n int) chan struct{} {
	if c.waiting[n] == nil {
		c.waiting[n] = make(chan struct{})
	}
	return c.waiting[n]
}

// ready is closed when the machine has come up n times.
func (c *console) ready(n int) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at(n)
}

func (c *console) boots() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count
}

// tail is what is kept, without what a terminal would do.
func (c *console) tail() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := c.text
	if len(text) > maxConsole {
		text = text[len(text)-maxConsole:]
	}
	return string(bytes.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, text))
}
