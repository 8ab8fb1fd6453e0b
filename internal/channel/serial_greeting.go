package channel

import (
	"bufio"
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
func greet(l *lease) error {
	hello := make([]byte, fillerLen, fillerLen+len(hostMagic)+nonceLen)
	for i := range hello {
		hello[i] = 0xff
	}
	nonce := make([]byte, nonceLen)
	rand.Read(nonce)
	hello = append(append(hello, hostMagic...), nonce...)

	// The guest may be stuck in a write of its own until it is read from, so
	// both go on at once. The write ends with l's at the latest.
	wrote := make(chan error, 1)
	go func() {
		_, err := l.Write(hello)
		wrote <- err
	}()
	err := l.skipTo(append([]byte(guestMagic), nonce...))
	if werr := <-wrote; err == nil {
		err = werr
	}
	if err != nil {
		return fmt.Errorf("greet the guest: %w", err)
	}
	return nil
}

// awaitGreeting is the guest's half: it waits for a host and returns its nonce.
func awaitGreeting(l *lease) ([]byte, error) {
	if err := l.skipTo([]byte(hostMagic)); err != nil {
		return nil, err
	}
	nonce := make([]byte, nonceLen)
	_, err := io.ReadFull(l, nonce)
	return nonce, err
}

// skipTo reads up to and with the first occurrence of want, which fits into r's
// buffer. It looks at all that one read gives: the filler in pieces of want's
// length took an emulated guest 18,000 reads.
func skipTo(r *bufio.Reader, want []byte) error {
	for {
		if _, err := r.Peek(len(want)); err != nil {
			return err
		}
		window, _ := r.Peek(r.Buffered())
		if i := bytes.Index(window, want); i >= 0 {
			_, err := r.Discard(i + len(want))
			return err
		}
		r.Discard(len(window) - len(want) + 1) // its end may be want's beginning
	}
}
