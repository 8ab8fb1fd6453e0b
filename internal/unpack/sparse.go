package unpack

import (
	"bytes"
	"errors"
	"io"

	"golang.org/x/sys/unix"
)

// block is the smallest hole, in bytes: a page of most file systems.
const block = 4 << 10

var zeros [block]byte

// Sparse writes r to the new file fd, and leaves holes where a whole block holds zeros
// only. buf is what it reads by: some blocks. It returns how many bytes the file has.
func Sparse(fd int, r io.Reader, buf []byte) (n int64, err error) {
	hole := false
	for {
		k, rerr := io.ReadFull(r, buf)
		for at := 0; at < k; {
			end := blockEnd(at, k)
			hole = isZero(buf[at:end])
			for !hole && end < k && !isZero(buf[end:blockEnd(end, k)]) { // in one call what lies together
				end = blockEnd(end, k)
			}
			if !hole {
				if err := writeAt(fd, buf[at:end], n+int64(at)); err != nil {
					return n, err
				}
			}
			at = end
		}
		n += int64(k)
		if rerr == io.EOF || rerr == io.ErrUnexpectedEOF {
			break
		}
		if rerr != nil {
			return n, rerr
		}
	}
	if hole {
		err = unix.Ftruncate(fd, n)
	}
	return n, err
}

func blockEnd(at, end int) int { return min(at+block, end) }

func isZero(b []byte) bool { return bytes.Equal(b, zeros[:len(b)]) }

func writeAt(fd int, p []byte, at int64) error {
	for len(p) > 0 {
		n, err := unix.Pwrite(fd, p, at)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		p, at = p[n:], at+int64(n)
	}
	return nil
}
