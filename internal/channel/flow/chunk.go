package flow

import (
	"io"
	"net"
	"sync"
)

const (
	// shared is the most that is copied into a chunk with others, in bytes; more keeps the
	// buffer that it came in. What a flow that stalls at its first window holds is no more
	// than that window.
	shared = firstWindow
	// maxTogether is how many chunks are written at once: 256 KiB.
	maxTogether = 8
)

// buffer holds a frame's data.
type buffer = [maxData]byte

// buffers are used again: at a hundred MiB a second, new ones made the agent's collector
// run a quarter of the time.
var buffers = sync.Pool{New: func() any { return new(buffer) }}

// chunk is some of a flow's bytes, and the buffer that they are in; nil is memory of their own.
type chunk struct {
	data []byte
	base *buffer
}

// free gives the buffer back.
func (c *chunk) free() {
	if c.base != nil {
		buffers.Put(c.base)
	}
	*c = chunk{}
}

// add copies p behind list, of which, with p, a flow holds so many bytes. Small ones share
// a chunk.
func add(list []chunk, p []byte, held int) []chunk {
	if n := len(list); n > 0 {
		if last := &list[n-1]; cap(last.data)-len(last.data) >= len(p) {
			last.data = append(last.data, p...)
			return list
		}
	}
	data := make([]byte, 0, max(len(p), min(held, maxData)))
	return append(list, chunk{data: append(data, p...)})
}

// advance takes n bytes, no more than it has, off list's first chunk.
func advance(list []chunk, n int) []chunk {
	c := &list[0]
	if c.data = c.data[n:]; len(c.data) > 0 {
		return list
	}
	c.free()
	return list[1:]
}

// together writes chunks to a connection of TCP in one call of the kernel.
type together struct {
	views [maxTogether][]byte
	all   net.Buffers
}

// write writes chunks, maxTogether at most, to w. A connection in another's wrapping
// gets them one by one: its own Write counts.
func (t *together) write(w io.Writer, chunks []chunk) (n int64, err error) {
	if tcp, ok := w.(*net.TCPConn); ok && len(chunks) > 1 {
		for i, c := range chunks {
			t.views[i] = c.data
		}
		t.all = t.views[:len(chunks)]
		return t.all.WriteTo(tcp)
	}
	for _, c := range chunks {
		m, err := w.Write(c.data)
		n += int64(m)
		if err != nil {
			return n, err
		}
	}
	return n, nil
}
