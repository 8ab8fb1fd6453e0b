package flow

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Kinds of frames.
const (
	kindOpen   = 1 + iota // a new flow: its header, at most MaxHeader bytes
	kindAnswer            // to an open: a code, and a text of at most maxText bytes
	kindData              // bytes of the flow, within the receiver's window
	kindWindow            // so many bytes more may be sent, 4 bytes
	kindEnd               // the sender has sent all
	kindReset             // the flow is over, both ways, and what is under way is void
	kindLast
)

// headerLen is a frame's: its kind (1 byte), the payload's length (3), the flow's
// number (4), big-endian.
const headerLen = 8

const (
	// MaxHeader bounds a flow's header, in bytes.
	MaxHeader = 1 << 10
	maxText   = 512
	// maxData bounds a frame's data, in bytes: what may stand before another flow's.
	maxData = 32 << 10
)

// frame is one of a session's. Its payload is valid until the next is read.
type frame struct {
	kind    byte
	id      uint32
	payload []byte
}

// maxPayload is each kind's, in bytes.
var maxPayload = [kindLast]int{
	kindOpen: MaxHeader, kindAnswer: 1 + maxText, kindData: maxData, kindWindow: 4,
}

func appendHeader(b []byte, kind byte, id uint32, n int) []byte {
	return append(b, kind, byte(n>>16), byte(n>>8), byte(n), byte(id>>24), byte(id>>16), byte(id>>8), byte(id))
}

// readFrame reads one frame, whose payload goes into buf, of at least maxData bytes. What
// breaks a kind's rules is an error.
func readFrame(r io.Reader, buf []byte) (frame, error) {
	var h [headerLen]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return frame{}, err
	}
	f := frame{kind: h[0], id: binary.BigEndian.Uint32(h[4:])}
	n := int(h[1])<<16 | int(h[2])<<8 | int(h[3])
	if f.kind == 0 || f.kind >= kindLast {
		return f, fmt.Errorf("a frame of the unknown kind %d", f.kind)
	}
	if n > maxPayload[f.kind] {
		return f, fmt.Errorf("a frame of kind %d with %d bytes, at most %d are allowed", f.kind, n, maxPayload[f.kind])
	}
	switch {
	case f.kind == kindAnswer && n < 1, f.kind == kindWindow && n != 4, f.kind == kindData && n == 0:
		return f, fmt.Errorf("a frame of kind %d with %d bytes", f.kind, n)
	}
	f.payload = buf[:n]
	if _, err := io.ReadFull(r, f.payload); err != nil {
		return f, unexpected(err)
	}
	return f, nil
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
