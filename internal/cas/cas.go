// Package cas keeps made things by digest: a directory each, written whole or
// not at all, with names (refs) that point to them. Several processes may use
// one store at once; makers of anything take turns.
//
//	DIR/HEX/…          a thing's files, and meta.json
//	DIR/refs/NAME      the digest that a name stands for
//	DIR/tmp-*          being made; swept by the next maker
package cas

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNotFound says that a ref or digest is not in the store.
var ErrNotFound = errors.New("not found")

const (
	metaFile  = "meta.json"
	stampFile = "stamps.json"
	refsDir   = "refs"
	lockFile  = ".lock"
	tmpPrefix = "tmp-"
	prefix    = "sha256:"
)

// Store is an open store. Its methods may be called at once.
type Store struct {
	dir    string
	making chan struct{} // a token for the process's one maker
}

// Entry is a thing in the store.
type Entry struct {
	Ref    string
	Digest string // "sha256:…"
	Dir    string
	// Files are the SHA-256 of the thing's files, by name.
	Files map[string]string
	Meta  json.RawMessage
}

// record is meta.json.
type record struct {
	Digest string            `json:"digest"`
	Files  map[string]string `json:"files"`
	Meta   json.RawMessage   `json:"meta"`
}

// stamp is a file as it was when its contents were last hashed.
type stamp struct {
	Inode uint64 `json:"inode"`
	Size  int64  `json:"size"`
	Mtime int64  `json:"mtime"` // nanoseconds
	Ctime int64  `json:"ctime"`
}

// Open opens the store in dir, making the directory.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(filepath.Join(dir, refsDir), 0o700); err != nil {
		return nil, err
	}
	return &Store{dir: dir, making: make(chan struct{}, 1)}, nil
}

// Get returns what ref stands for.
func (s *Store) Get(ref string) (Entry, error) {
	if ref == "" || strings.ContainsAny(ref, "/\x00") || ref[0] == '.' {
		return Entry{}, fmt.Errorf("%q: %w", ref, ErrNotFound)
	}
	text, err := os.ReadFile(filepath.Join(s.dir, refsDir, ref))
	if errors.Is(err, fs.ErrNotExist) {
		return Entry{}, fmt.Errorf("%q: %w", ref, ErrNotFound)
	}
	if err != nil {
		return Entry{}, err
	}
	e, err := s.ByDigest(strings.TrimSpace(string(text)))
	e.Ref = ref
	return e, err
}

// ByDigest returns the thing with digest. Its files are hashed again where
// they are not as they were when that was last done.
func (s *Store) ByDigest(digest string) (Entry, error) {
	hexa, ok := strings.CutPrefix(digest, prefix)
	if b, err := hex.DecodeString(hexa); !ok || err != nil || len(b) != sha256.Size {
		return Entry{}, fmt.Errorf("digest %.80q: %w", digest, ErrNotFound)
	}
	dir := filepath.Join(s.dir, hexa)
	text, err := os.ReadFile(filepath.Join(dir, metaFile))
	if errors.Is(err, fs.ErrNotExist) {
		return Entry{}, fmt.Errorf("digest %q: %w", digest, ErrNotFound)
	}
	if err != nil {
		return Entry{}, err
	}
	var r record
	if err := json.Unmarshal(text, &r); err != nil {
		return Entry{}, fmt.Errorf("read %s of %s: %w", metaFile, digest, err)
	}
	if err := verify(dir, r.Files); err != nil {
		return Entry{}, err
	}
	return Entry{Digest: digest, Dir: dir, Files: r.Files, Meta: r.Meta}, nil
}

// List returns what all refs stand for, by ref. Damaged ones are left out.
func (s *Store) List() ([]Entry, error) {
	names, err := os.ReadDir(filepath.Join(s.dir, refsDir))
	if err != nil {
		return nil, err
	}
	var out []Entry
	for _, n := range names {
		if e, err := s.Get(n.Name()); err == nil {
			out = append(out, e)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Ref < out[j].Ref })
	return out, nil
}

// Make is how a thing is made: it fills the empty directory tmp and returns
// what is to be kept about it.
type Make func(ctx context.Context, tmp string) (meta any, err error)

// Ensure returns what ref stands for, making it where it is missing, or, with
// anew, in any case. Makers take turns, in this process and among processes;
// whoever waited finds what the other made. An error leaves nothing.
func (s *Store) Ensure(ctx context.Context, ref string, anew bool, do Make) (Entry, error) {
	if !anew {
		if e, err := s.Get(ref); !errors.Is(err, ErrNotFound) {
			return e, err
		}
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return Entry{}, err
	}
	defer unlock()
	if !anew { // somebody may have been quicker
		if e, err := s.Get(ref); !errors.Is(err, ErrNotFound) {
			return e, err
		}
	}
	s.sweep()
	tmp, err := os.MkdirTemp(s.dir, tmpPrefix)
	if err != nil {
		return Entry{}, err
	}
	defer os.RemoveAll(tmp)
	meta, err := do(ctx, tmp)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return Entry{}, err
	}
	digest, err := s.seal(tmp, meta)
	if err != nil {
		return Entry{}, err
	}
	dir := filepath.Join(s.dir, strings.TrimPrefix(digest, prefix))
	if err := os.Rename(tmp, dir); err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, syscall.ENOTEMPTY) {
		return Entry{}, err
	}
	if err := s.setRef(ref, digest); err != nil {
		return Entry{}, err
	}
	return s.Get(ref)
}

// lock takes the turn of making. flock has no wait that a context could end,
// so another process's turn is asked for again and again.
func (s *Store) lock(ctx context.Context) (func(), error) {
	select {
	case s.making <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	f, err := os.OpenFile(filepath.Join(s.dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		<-s.making
		return nil, err
	}
	unlock := func() {
		f.Close()
		<-s.making
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return unlock, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			unlock()
			return nil, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			unlock()
			return nil, ctx.Err()
		}
	}
}

// sweep removes what a killed maker left; the lock is held.
func (s *Store) sweep() {
	left, _ := filepath.Glob(filepath.Join(s.dir, tmpPrefix+"*"))
	for _, d := range left {
		os.RemoveAll(d)
	}
}

// seal hashes and syncs all files of tmp and writes its record. The digest is
// that of the list of names and hashes; of a single file it is the file's own.
func (s *Store) seal(tmp string, meta any) (string, error) {
	names, err := os.ReadDir(tmp)
	if err != nil {
		return "", err
	}
	r := record{Files: map[string]string{}}
	all := sha256.New()
	for _, n := range names {
		sum, err := hashFile(filepath.Join(tmp, n.Name()), true)
		if err != nil {
			return "", err
		}
		r.Files[n.Name()] = sum
		fmt.Fprintf(all, "%s %s\n", sum, n.Name())
		r.Digest = prefix + sum
	}
	if len(names) != 1 {
		r.Digest = prefix + hex.EncodeToString(all.Sum(nil))
	}
	if r.Meta, err = json.Marshal(meta); err != nil {
		return "", err
	}
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return "", err
	}
	if err := writeSynced(filepath.Join(tmp, metaFile), text); err != nil {
		return "", err
	}
	return r.Digest, writeStamps(tmp, r.Files)
}

func (s *Store) setRef(ref, digest string) error {
	tmp := filepath.Join(s.dir, tmpPrefix+"ref")
	if err := writeSynced(tmp, []byte(digest+"\n")); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(s.dir, refsDir, ref))
}

func writeSynced(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}

func hashFile(path string, sync bool) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	if sync {
		if err := f.Sync(); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func stampOf(path string) (stamp, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return stamp{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return stamp{st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano()}, nil
}

func writeStamps(dir string, files map[string]string) error {
	stamps := map[string]stamp{}
	for name := range files {
		st, err := stampOf(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		stamps[name] = st
	}
	text, err := json.Marshal(stamps)
	if err != nil {
		return err
	}
	tmp := filepath.Join(dir, "."+stampFile)
	if err := writeSynced(tmp, text); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(dir, stampFile))
}

// verify hashes files that changed since they were last hashed.
func verify(dir string, files map[string]string) error {
	var known map[string]stamp
	if text, err := os.ReadFile(filepath.Join(dir, stampFile)); err == nil {
		json.Unmarshal(text, &known) // unreadable stamps are none
	}
	changed := false
	for name, want := range files {
		path := filepath.Join(dir, name)
		st, err := stampOf(path)
		if err != nil {
			return err
		}
		if k, ok := known[name]; ok && k == st {
			continue
		}
		got, err := hashFile(path, false)
		if err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("%q is damaged: its SHA-256 is %s, not %s", path, got, want)
		}
		changed = true
	}
	if changed {
		return writeStamps(dir, files)
	}
	return nil
}
