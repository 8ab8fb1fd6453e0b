package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"banger/internal/durable"
	"banger/internal/rootdisk"
)

// KeepMetadata copies the part of the disk at path that holds its pool's metadata to a new
// file beside it, whose path it returns: the header too, so that each byte is where it is
// in the disk. It looks at none of it. What the host can't read is a hole. An error leaves
// nothing.
func KeepMetadata(path string) (kept string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return "", err
	}
	l, err := rootdisk.OfFile(fi.Size())
	if err != nil {
		return "", err
	}
	out, err := newFile(path + "-metadata")
	if err != nil {
		return "", explain(err, filepath.Dir(path))
	}
	defer func() {
		if err = errors.Join(err, out.Close()); err != nil {
			os.Remove(out.Name())
		}
	}()
	if err := copyReadable(out, f, rootdisk.MetadataAt+l.MetadataBytes); err != nil {
		return "", explain(err, filepath.Dir(path))
	}
	if err := out.Sync(); err != nil {
		return "", explain(err, filepath.Dir(path))
	}
	return out.Name(), durable.SyncDir(filepath.Dir(path))
}

// newFile makes a file of that name with a number that none has yet.
func newFile(name string) (*os.File, error) {
	for n := 1; ; n++ {
		f, err := os.OpenFile(fmt.Sprintf("%s-%d", name, n), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if !errors.Is(err, fs.ErrExist) {
			return f, err
		}
	}
}

// copyReadable copies so many bytes in pieces of a page; zeroes become holes.
func copyReadable(to *os.File, from io.ReaderAt, size int64) error {
	piece, zero := make([]byte, 4096), make([]byte, 4096)
	for at := int64(0); at < size; at += int64(len(piece)) {
		if _, err := from.ReadAt(piece, at); err != nil || bytes.Equal(piece, zero) {
			continue
		}
		if _, err := to.WriteAt(piece, at); err != nil {
			return err
		}
	}
	return to.Truncate(size)
}
