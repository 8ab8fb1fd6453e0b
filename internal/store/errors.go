package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"banger/internal/hint"
)

const codeError = sqlite3.SQLITE_ERROR

const mend = "banger doctor --fix sets the file aside and makes it anew from the VMs' own records"

// errorCode is SQLite's primary result code (sqlite.org/rescode.html), or 0.
func errorCode(err error) int {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return 0
	}
	return e.Code() & 0xff
}

// classify turns SQLite's codes into errors that callers know, and names the file.
func (s *Store) classify(err error) error {
	if err == nil || errors.Is(err, ErrNewer) || errors.Is(err, ErrOlder) {
		return err
	}
	if errors.Is(err, ErrDamaged) {
		return hint.Add(fmt.Errorf("%q is %w", s.path, err), mend)
	}
	switch errorCode(err) {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return hint.Add(fmt.Errorf("%q is %w: %w", s.path, ErrDamaged, err), mend)
	case sqlite3.SQLITE_FULL:
		return s.noSpace()
	case sqlite3.SQLITE_READONLY:
		return fmt.Errorf("write %q: %w", s.path, unix.EROFS)
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN:
		var st unix.Statfs_t
		switch {
		case unix.Statfs(s.dir(), &st) == nil && st.Flags&unix.ST_RDONLY != 0:
			return fmt.Errorf("write %q: %w", s.path, unix.EROFS)
		case st.Bsize != 0 && int64(st.Bavail)*st.Bsize < 64<<10: // the log's index alone takes 32 KiB
			return s.noSpace()
		}
		return fmt.Errorf("%q: %w: %w", s.path, err, unix.EIO)
	}
	return err
}

func (s *Store) noSpace() error {
	return hint.Add(fmt.Errorf("write %q: %w", s.path, unix.ENOSPC), "make room where "+s.dir()+" lies, for example with banger trash empty")
}

// isTaken reports whether a row's name or id is another's.
func isTaken(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE
}

// isFull reports whether a file system took no write.
func isFull(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EROFS)
}

// checkHeader reads the user_version out of the file's header (sqlite.org,
// fileformat2, section 1.3) before SQLite has touched anything. An empty file is a
// new database.
func checkHeader(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	var head [100]byte
	n, err := io.ReadFull(f, head[:])
	if n == 0 && errors.Is(err, io.EOF) {
		return nil
	}
	s := &Store{path: path}
	if err != nil || string(head[:16]) != "SQLite format 3\x00" {
		return s.classify(fmt.Errorf("%w: it is no database", ErrDamaged))
	}
	if at := int(binary.BigEndian.Uint32(head[60:64])); at != 0 { // 0: a log beside it has the rest
		return s.checkVersion(at)
	}
	return nil
}

func (s *Store) checkVersion(at int) error {
	switch {
	case at > format:
		return hint.Add(fmt.Errorf("%q has format %d, this program knows %d: %w", s.path, at, format, ErrNewer),
			"use the newer banger, or set XDG_STATE_HOME to another directory")
	case at < 1:
		return fmt.Errorf("%w: it has no format", ErrDamaged)
	case at < format:
		return olderError(s.path, at, filepath.Dir(s.path))
	}
	return nil
}

// olderError is a file of an earlier banger in the state directory dir.
func olderError(path string, at int, dir string) error {
	return hint.Add(fmt.Errorf("%q has format %d, this program knows %d: %w", path, at, format, ErrOlder), "mv "+dir+" "+dir+".old")
}
