package filecopy

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// ErrTooMuch says that a stream brings more than it may.
var ErrTooMuch = errors.New("it is more than may come")

const (
	// entryBytes is what an entry counts beside its content: a block of its own.
	entryBytes = 4 << 10
	// lookEvery is after how many bytes the free space is looked at again: a small part
	// of what stays free.
	lookEvery = 16 << 20
	// maxKept is what stays free of a large file system; of a smaller one a twentieth.
	maxKept = 1 << 30
)

// bound ends a stream that brings more than it may.
type bound struct {
	in     io.Reader
	dir    string // where it goes
	max    int64  // bytes; 0 is no bound
	keep   bool   // some of the file system's space stays free
	taken  int64
	looked int64 // taken, when the free space was looked at
}

func (b *bound) Read(p []byte) (int, error) {
	n, err := b.in.Read(p)
	if berr := b.take(int64(n)); berr != nil {
		return 0, berr
	}
	return n, err
}

// take counts n bytes.
func (b *bound) take(n int64) error {
	b.taken += n
	if b.max > 0 && b.taken > b.max {
		return fmt.Errorf("%w: %d MiB", ErrTooMuch, b.max>>20)
	}
	if !b.keep || b.taken-b.looked < lookEvery && b.looked > 0 {
		return nil
	}
	b.looked = max(b.taken, 1)
	var st unix.Statfs_t
	if err := unix.Statfs(b.dir, &st); err != nil {
		return fmt.Errorf("look at the free space of %q: %w", b.dir, err)
	}
	if free, kept := int64(st.Bavail)*st.Bsize, min(int64(st.Blocks)*st.Bsize/20, maxKept); free < kept {
		return fmt.Errorf("%w: %q has %d MiB free, and %d MiB are left alone", ErrTooMuch, b.dir, free>>20, kept>>20)
	}
	return nil
}
