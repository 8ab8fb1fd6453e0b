package cas

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"banger/internal/durable"
)

// Dir is the store's directory.
func (s *Store) Dir() string { return s.dir }

// Keep returns the thing with digest. If it is not here whole, it is taken from
// the store from: by hard links, or by copies from another file system. A thing
// that neither has is ErrNotFound, one that is whole in neither ErrDamaged.
func (s *Store) Keep(ctx context.Context, from *Store, digest string) (Entry, error) {
	if e, err := s.ByDigest(digest); !missing(err) {
		return e, err
	}
	unlock, err := s.lock(ctx, nil)
	if err != nil {
		return Entry{}, err
	}
	defer unlock()
	own, err := s.ByDigest(digest)
	if !missing(err) { // somebody was quicker
		return own, err
	}
	var src Entry
	release, srcErr := from.Hold(digest)
	if srcErr == nil {
		defer release()
		src, srcErr = from.ByDigest(digest)
	}
	if errors.Is(srcErr, ErrNotFound) {
		return Entry{}, err // of the two, this one says more
	}
	if srcErr != nil {
		return Entry{}, srcErr
	}
	tmp, err := os.MkdirTemp(s.dir, tmpPrefix)
	if err != nil {
		return Entry{}, err
	}
	defer os.RemoveAll(tmp) // after a move it is the damaged one, or nothing
	for name := range src.Files {
		if err := linkOrCopy(filepath.Join(src.Dir, name), filepath.Join(tmp, name)); err != nil {
			return Entry{}, fmt.Errorf("keep %s: %w", digest, err)
		}
	}
	text, err := os.ReadFile(filepath.Join(src.Dir, metaFile))
	if err == nil {
		err = durable.Replace(filepath.Join(tmp, metaFile), text)
	}
	if err != nil {
		return Entry{}, err
	}
	writeStamps(tmp, src.Files) // from.ByDigest looked at them just now
	dir, _ := s.dirOf(digest)
	if err := move(tmp, dir); err != nil {
		return Entry{}, err
	}
	if err := durable.SyncDir(s.dir); err != nil {
		return Entry{}, err
	}
	return s.ByDigest(digest)
}

// linkOrCopy gives the file at from the name to too, or copies it.
func linkOrCopy(from, to string) (err error) {
	if err := os.Link(from, to); !errors.Is(err, unix.EXDEV) && !errors.Is(err, unix.EMLINK) && !errors.Is(err, unix.EPERM) {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) == nil {
		return out.Sync()
	}
	if err := copySparse(out, in); err != nil {
		return err
	}
	return out.Sync()
}

// copySparse copies in, but for its holes.
func copySparse(out, in *os.File) error {
	fi, err := in.Stat()
	if err != nil {
		return err
	}
	for at := int64(0); at < fi.Size(); {
		data, err := in.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) { // a hole to the end
			break
		}
		if err != nil {
			return err
		}
		hole, err := in.Seek(data, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.NewOffsetWriter(out, data), io.NewSectionReader(in, data, hole-data)); err != nil {
			return err
		}
		at = hole
	}
	return out.Truncate(fi.Size())
}

// Prune removes what inUse does not name, by digest, and refs do not stand for.
func (s *Store) Prune(ctx context.Context, inUse func(digest string) bool) error {
	unlock, err := s.lock(ctx, nil)
	if err != nil {
		return err
	}
	defer unlock()
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	kept := map[string]bool{}
	if list, err := s.List(); err != nil {
		return err
	} else {
		for _, e := range list {
			kept[e.Digest] = true
		}
	}
	for _, e := range entries {
		digest := prefix + e.Name()
		dir, ok := s.dirOf(digest)
		if !ok || !e.IsDir() || kept[digest] || inUse(digest) {
			continue
		}
		err = errors.Join(err, s.remove(dir))
	}
	return err
}
