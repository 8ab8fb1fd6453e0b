package exec

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
)

// Type is what a frame carries.
type Type byte

// The frames. Each has a one-byte type, a four-byte big-endian length, and
// that many bytes.
const (
	TypeRequest Type = 'R' // host: the Request, first and once
	TypeStdin   Type = 'i' // host: bytes for the process; an empty frame ends them
	TypeResize  Type = 'w' // host: Size as two big-endian uint16, rows first
	TypeSignal  Type = 's' // host: one byte, a signal's number
	TypeStdout  Type = 'o' // guest: bytes of the process; an empty frame ends them
	TypeStderr  Type = 'e' // guest: likewise
	TypeExit    Type = 'x' // guest: Status as JSON, last and once
	TypeTaken   Type = 't' // guest: how many bytes of stdin the process took, as a big-endian uint32; see Request.Held
)

// Limits, in bytes.
const (
	MaxData    = 256 << 10 // payload of any frame but a request
	MaxRequest = 8 << 20   // above the kernel's own limit for arguments (a quarter of the stack's, 2 MiB by default)
	// Window is how much of stdin may be on its way to a process that has not taken
	// it, if the host holds it back (Request.Held).
	Window    = 2 << 20
	headerLen = 5
	firstData = 4 << 10 // what Copy has room for at first
)

// limit bounds a frame by its type, so that a peer can't make us allocate.
func limit(t Type) (int, error) {
	switch t {
	case TypeRequest:
		return MaxRequest, nil
	case TypeStdin, TypeStdout, TypeStderr:
		return MaxData, nil
	case TypeResize, TypeTaken:
		return 4, nil
	case TypeSignal:
		return 1, nil
	case TypeExit:
		return 4 << 10, nil
	}
	return 0, fmt.Errorf("frame has the unknown type %#x", byte(t))
}

// Reader reads frames. It belongs to one goroutine.
type Reader struct {
	r    *bufio.Reader
	last int // of the frame that Next returned last, in r's buffer
}

// NewReader reads frames from r. Its buffer holds the largest bulk frame: the
// fewer reads, the fewer times a peer is told that it may send more.
func NewReader(r io.Reader) *Reader {
	return &Reader{r: bufio.NewReaderSize(r, headerLen+MaxData)}
}

// Next returns the next frame; its payload is valid until the next call. An
// end between frames is io.EOF, one within a frame io.ErrUnexpectedEOF.
func (r *Reader) Next() (Type, []byte, error) {
	r.r.Discard(r.last) // it is there: it was peeked at
	r.last = 0
	head, err := r.r.Peek(headerLen)
	if err != nil {
		if err == io.EOF && len(head) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	t, n := Type(head[0]), binary.BigEndian.Uint32(head[1:])
	most, err := limit(t)
	if err != nil {
		return 0, nil, err
	}
	if n > uint32(most) {
		return 0, nil, fmt.Errorf("frame of type %q has %d bytes: the most is %d", byte(t), n, most)
	}
	r.r.Discard(headerLen)
	var p []byte
	if n <= MaxData {
		p, err = r.r.Peek(int(n))
		r.last = len(p)
	} else { // a large request
		p = make([]byte, n)
		_, err = io.ReadFull(r.r, p)
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return 0, nil, err
	}
	return t, p, nil
}

// Writer writes frames, each in one write. Its methods may be called at once.
type Writer struct {
	mu  sync.Mutex
	w   io.Writer
	buf []byte
}

// NewWriter writes frames to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Write sends one frame.
func (w *Writer) Write(t Type, p []byte) error {
	most, err := limit(t)
	if err != nil {
		return err
	}
	if len(p) > most {
		return fmt.Errorf("frame of type %q has %d bytes: the most is %d", byte(t), len(p), most)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf = append(w.buf[:0], byte(t))
	w.buf = binary.BigEndian.AppendUint32(w.buf, uint32(len(p)))
	w.buf = append(w.buf, p...)
	_, err = w.w.Write(w.buf)
	return err
}

// Copy sends what r gives as frames of type t and then, at r's end, the empty
// frame that ends them.
func (w *Writer) Copy(t Type, r io.Reader) error {
	// The header's room is left in front, so that a full read is one write
	// without a copy. Most streams say little: the buffer grows when it was full.
	buf := make([]byte, headerLen+firstData)
	for {
		n, err := r.Read(buf[headerLen:])
		if n > 0 {
			buf[0] = byte(t)
			binary.BigEndian.PutUint32(buf[1:], uint32(n))
			w.mu.Lock()
			_, werr := w.w.Write(buf[:headerLen+n])
			w.mu.Unlock()
			if werr != nil {
				return werr
			}
		}
		if err == io.EOF {
			return w.Write(t, nil)
		}
		if err != nil {
			return err
		}
		if n == firstData && len(buf) < headerLen+MaxData {
			buf = make([]byte, headerLen+MaxData)
		}
	}
}
