// Package ext4 turns a tar stream into a read-only ext4 file, in pure Go:
// nothing is mounted, nothing is unpacked into host files, no root is needed.
//
// The blocks are laid out by hcsshim's tar2ext4. That writer takes some input
// that it then writes wrongly without a word (see normalise.go); everything is
// read, checked and rewritten here before it sees it. The tar may be hostile:
// it costs no more than 16 GiB and a million
// entries, and what can't be kept exactly is
// refused by name.
//
// The result has no journal and no free blocks, and is marked read-only: a
// disk of modules. The same entries give the same bytes.
package ext4

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/Microsoft/hcsshim/ext4/tar2ext4"
)

// limits bound what a tar may cost.
type limits struct {
	bytes   int64 // of the file system
	entries int
}

var defLimits = limits{bytes: 16 << 30, entries: 1 << 20}

// Stats tells what was written.
type Stats struct {
	Entries   int   // files, directories, links: what the tar named
	FileBytes int64 // sum of the files' contents
	SizeBytes int64 // of the ext4 file
}

// Write reads a tar from r and writes an ext4 file system to w, an empty
// file open for reading and writing, which is left unsynced. After an error w
// holds rubbish and r may be left in mid-stream; else r was read to its end. A
// stream that is cut between two entries looks whole: whoever makes it has to
// tell. ctx's end stops the work at the next read of r.
func Write(ctx context.Context, r io.Reader, w *os.File) (Stats, error) {
	return writeWithin(ctx, r, w, defLimits)
}

func writeWithin(ctx context.Context, r io.Reader, w *os.File, l limits) (Stats, error) {
	sum := sha256.New()
	n := newNormaliser(l)
	pr, pw := io.Pipe()
	done := make(chan error, 1)
	go func() { // ends with the stream, or when the writer below closes pr
		err := n.run(&reader{ctx, r}, io.MultiWriter(pw, sum))
		pw.CloseWithError(err) // nil is EOF
		done <- err
	}()
	err := layOut(pr, w, l.bytes)
	pr.CloseWithError(errStopped)
	// The reader's own complaint is the cause; the writer's is its echo.
	if nerr := <-done; nerr != nil && !errors.Is(nerr, errStopped) {
		err = nerr
	}
	if err == nil {
		// What follows the end marker is padding: left unread, whoever writes it
		// would die of a broken pipe.
		_, err = io.Copy(io.Discard, &reader{ctx, r})
	}
	if err != nil {
		return Stats{}, fmt.Errorf("write ext4 file: %w", err)
	}
	s, id := n.stats, uuid(sum)
	if _, err := w.WriteAt(id[:], superblock+uuidOffset); err != nil {
		return Stats{}, fmt.Errorf("write ext4 file: %w", err)
	}
	if s.SizeBytes, err = w.Seek(0, io.SeekEnd); err != nil {
		return Stats{}, err
	}
	return s, nil
}

var errStopped = errors.New("the ext4 writer stopped")

// layOut runs the library, whose panics on odd input ("file too big") are
// errors here.
func layOut(r io.Reader, w *os.File, maxBytes int64) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("lay out blocks: %v", p)
		}
	}()
	return tar2ext4.Convert(r, w, tar2ext4.MaximumDiskSize(maxBytes))
}

// The superblock lies at byte 1024, its s_uuid 0x68 into it
// (Documentation/filesystems/ext4/super.rst). The writer leaves it zero, and
// sets no feature that derives a checksum from it.
const (
	superblock = 1024
	uuidOffset = 0x68
)

// uuid derives the file system's UUID from its normalised contents: version 8
// (RFC 9562, section 5.8).
func uuid(sum hash.Hash) (id [16]byte) {
	copy(id[:], sum.Sum(nil))
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return id
}

type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.r.Read(p)
}
