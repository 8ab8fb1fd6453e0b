// Package ballast keeps a file that is given up when a file system is full: the
// room that it leaves is enough to record the end of what fills it.
package ballast

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Bytes is the ballast's size.
const Bytes = 1 << 20

// Ensure makes the file at path, mode 0600, with all of its blocks, if it is not
// there whole. An error leaves none.
func Ensure(path string) error {
	var st unix.Stat_t
	if unix.Lstat(path, &st) == nil && st.Size == Bytes && st.Blocks*512 >= Bytes {
		return nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = unix.Fallocate(int(f.Fd()), 0, 0, Bytes)
	if errors.Is(err, unix.EOPNOTSUPP) {
		_, err = f.Write(make([]byte, Bytes))
	}
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(path)
		return fmt.Errorf("keep %d bytes in reserve at %q: %w", Bytes, path, err)
	}
	return nil
}

// Drop gives the room up and reports whether there was any.
func Drop(path string) bool { return os.Remove(path) == nil }
