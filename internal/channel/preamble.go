package channel

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
)

// A serial port is one endless pipe: neither end sees the other go, and bytes
// of a broken connection may still lie in it. So each connection begins with a
// preamble. The host sends filler, hostMagic and a fresh nonce; the guest, who
// looks for hostMagic whenever it serves no connection, answers guestMagic and
// the same nonce; the host drops all bytes before that.
//
// The filler ends a connection that the guest still believes in: it is longer
// than the rest of any frame, and no HTTP/2 frame can begin with it (a length
// of 0xffffff is above every limit that is set here), so the guest's server
// gives up within it.
const (
	hostMagic  = "\xff\xffbanger-host\x00\x01\r\n"
	guestMagic = "\xff\xfebanger-guest\x00\x01\r\n"
	nonceLen   = 16

	// serverBuffer is what net/http may have read ahead when it gives up.
	serverBuffer = 16 << 10
	fillerLen    = maxFrame + serverBuffer
)

// greet is the host's half; it returns when the guest has answered.
func greet(rw io.ReadWriter) error {
	hello := make([]byte, fillerLen, fillerLen+len(hostMagic)+nonceLen)
	for i := range hello {
		hello[i] = 0xff
	}
	nonce := make([]byte, nonceLen)
	rand.Read(nonce)
	hello = append(append(hello, hostMagic...), nonce...)

	// The guest may be stuck in a write of its own until it is read from, so
	// both go on at once. The write ends with rw's at the latest.
	wrote := make(chan error, 1)
	go func() {
		_, err := rw.Write(hello)
		wrote <- err
	}()
	err := skipTo(rw, append([]byte(guestMagic), nonce...))
	if werr := <-wrote; err == nil {
		err = werr
	}
	if err != nil {
		return fmt.Errorf("greet the guest: %w", err)
	}
	return nil
}

// awaitGreeting is the guest's half: it waits for a host and returns its nonce.
func awaitGreeting(r io.Reader) ([]byte, error) {
	if err := skipTo(r, []byte(hostMagic)); err != nil {
		return nil, err
	}
	nonce := make([]byte, nonceLen)
	_, err := io.ReadFull(r, nonce)
	return nonce, err
}

// skipTo reads up to and with the first occurrence of want and not a byte
// more. It holds no more than two of want's length.
func skipTo(r io.Reader, want []byte) error {
	// While all of window could still be want's beginning, as many bytes as are
	// missing can be read without reading past its end.
	window := make([]byte, 0, len(want))
	for {
		n := len(window)
		if _, err := io.ReadFull(r, window[n:cap(window)]); err != nil {
			return err
		}
		window = window[:cap(window)]
		if bytes.Equal(window, want) {
			return nil
		}
		// Keep the longest end that is a beginning of want.
		keep := len(want) - 1
		for ; keep > 0 && !bytes.HasPrefix(want, window[len(window)-keep:]); keep-- {
		}
		copy(window, window[len(window)-keep:])
		window = window[:keep]
	}
}
