// Package cas keeps made things by digest: a directory each, written whole or
// not at all, with names (refs) that point to them. Several processes may use
// one store at once; makers of anything take turns.
//
//	DIR/HEX/…          a thing's files, and meta.json
//	DIR/refs/NAME      the digest that a name stands for
//	DIR/tmp-*          being made; swept by Open and by the next maker
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
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"banger/internal/durable"
)

var (
	// ErrNotFound says that a ref or digest is not in the store.
	ErrNotFound = errors.New("not found")
	// ErrDamaged says that a thing's files are not what was made.
	ErrDamaged = errors.New("damaged")
)

const (
	metaFile  = "meta.json"
	refsDir   = "refs"
	lockFile  = ".lock"
	tmpPrefix = "tmp-"
	prefix    = "sha256:"
	maxMeta   = 1 << 20 // bytes of a meta.json
)

// Store is an open store. Its methods may be called at once.
type Store struct {
	dir    string
	sweep  func(tmp string) error
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

// Open opens the store in dir, making the directory, and removes what killed
// makers left, unless one is at work. sweep is called with the directory of
// each of them first: for what a maker had outside of it.
func Open(dir string, sweep func(tmp string) error) (*Store, error) {
	if err := os.MkdirAll(filepath.Join(dir, refsDir), 0o700); err != nil {
		return nil, err
	}
	s := &Store{dir: dir, sweep: sweep, making: make(chan struct{}, 1)}
	lock, err := s.openLock()
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
		s.sweepAll() // what it can't remove stops the next maker, not the readers
	}
	return s, nil
}

// Get returns what ref stands for.
func (s *Store) Get(ref string) (Entry, error) {
	if !validRef(ref) {
		return Entry{}, fmt.Errorf("%.80q: %w", ref, ErrNotFound)
	}
	digest, err := s.refDigest(ref)
	if err != nil {
		return Entry{}, err
	}
	e, err := s.ByDigest(digest)
	e.Ref = ref
	return e, err
}

// validRef: a ref is a file's name in refs.
func validRef(ref string) bool {
	if ref == "" || len(ref) > 128 || ref[0] == '.' {
		return false
	}
	for _, c := range []byte(ref) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && !strings.ContainsRune("-._+", rune(c)) {
			return false
		}
	}
	return true
}

// ByDigest returns the thing with digest. Its files are hashed again where
// they are not as they were when that was last done.
func (s *Store) ByDigest(digest string) (Entry, error) {
	dir, ok := s.dirOf(digest)
	if !ok {
		return Entry{}, fmt.Errorf("digest %.80q: %w", digest, ErrNotFound)
	}
	f, err := os.Open(filepath.Join(dir, metaFile))
	if errors.Is(err, fs.ErrNotExist) {
		return Entry{}, fmt.Errorf("digest %q: %w", digest, ErrNotFound)
	}
	if err != nil {
		return Entry{}, err
	}
	defer f.Close()
	var r record
	if err := json.NewDecoder(io.LimitReader(f, maxMeta)).Decode(&r); err != nil {
		return Entry{}, fmt.Errorf("read %q: %w: %w", f.Name(), ErrDamaged, err)
	}
	if r.Digest != digest || digestOf(r.Files) != digest {
		return Entry{}, fmt.Errorf("%q is not the record of %s: %w", f.Name(), digest, ErrDamaged)
	}
	if err := verify(dir, r.Files); err != nil {
		return Entry{}, err
	}
	return Entry{Digest: digest, Dir: dir, Files: r.Files, Meta: r.Meta}, nil
}

func (s *Store) dirOf(digest string) (string, bool) {
	hexa, ok := strings.CutPrefix(digest, prefix)
	b, err := hex.DecodeString(hexa)
	// Lower case alone: a digest has one spelling.
	if !ok || err != nil || len(b) != sha256.Size || hexa != hex.EncodeToString(b) {
		return "", false
	}
	return filepath.Join(s.dir, hexa), true
}

// List returns what all refs stand for, by ref. Damaged ones are left out.
func (s *Store) List() ([]Entry, error) {
	names, err := os.ReadDir(filepath.Join(s.dir, refsDir)) // sorted
	if err != nil {
		return nil, err
	}
	var out []Entry
	for _, n := range names {
		if e, err := s.Get(n.Name()); err == nil {
			out = append(out, e)
		}
	}
	return out, nil
}

// Order is something to have.
type Order struct {
	Ref string
	// Anew makes it in any case; else only where it is missing, damaged or stale.
	Anew bool
	// Stale, if it is set, reports whether what there is, by what was kept about it,
	// is no longer what is asked for.
	Stale func(meta json.RawMessage) bool
	// Make fills the empty directory tmp with files and returns what is to be
	// kept about them.
	Make func(ctx context.Context, tmp string) (meta any, err error)
	// SpaceMiB is what it will take, at most.
	SpaceMiB int64
	// Waiting, where set, is called once if another maker has its turn first.
	Waiting func()
}

// Ensure returns what o asks for. Makers take turns, in this process and among
// processes; who waited gets what was made meanwhile. After an error the ref
// stands for what it stood for before, and nothing else is left. What was made takes
// the place of what nothing needs any more (RemoveSuperseded).
func (s *Store) Ensure(ctx context.Context, o Order) (Entry, error) {
	if !validRef(o.Ref) {
		return Entry{}, fmt.Errorf("%.80q: %w", o.Ref, ErrNotFound)
	}
	if !o.Anew {
		if e, err := s.Get(o.Ref); !o.wants(e, err) {
			return e, err
		}
	}
	before := s.refStamp(o.Ref)
	unlock, err := s.lock(ctx, o.Waiting)
	if err != nil {
		return Entry{}, err
	}
	defer unlock()
	if !o.Anew || s.refStamp(o.Ref) != before { // somebody was quicker
		if e, err := s.Get(o.Ref); !o.wants(e, err) {
			return e, err
		}
	}
	if err := s.sweepAll(); err != nil {
		return Entry{}, err
	}
	return s.make(ctx, o)
}

// wants reports whether o is to be made although Get says e and err.
func (o Order) wants(e Entry, err error) bool {
	return missing(err) || err == nil && o.Stale != nil && o.Stale(e.Meta)
}

func missing(err error) bool { return errors.Is(err, ErrNotFound) || errors.Is(err, ErrDamaged) }

func (s *Store) make(ctx context.Context, o Order) (Entry, error) {
	var st unix.Statfs_t
	if unix.Statfs(s.dir, &st) == nil {
		if free := int64(st.Bavail) * st.Bsize >> 20; free < o.SpaceMiB {
			return Entry{}, fmt.Errorf("write to %q, which has %d MiB free and needs about %d: %w", s.dir, free, o.SpaceMiB, unix.ENOSPC)
		}
	}
	tmp, err := os.MkdirTemp(s.dir, tmpPrefix)
	if err != nil {
		return Entry{}, err
	}
	defer os.RemoveAll(tmp) // after a rename it is the replaced one, or nothing
	meta, err := o.Make(ctx, tmp)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return Entry{}, err
	}
	digest, err := seal(tmp, meta)
	if err != nil {
		return Entry{}, err
	}
	dir, _ := s.dirOf(digest)
	if _, err := s.ByDigest(digest); err != nil {
		if err := move(tmp, dir); err != nil {
			return Entry{}, err
		}
		if err := durable.SyncDir(s.dir); err != nil {
			return Entry{}, err
		}
	}
	if err := durable.Replace(filepath.Join(s.dir, refsDir, o.Ref), []byte(digest+"\n")); err != nil {
		return Entry{}, err
	}
	s.removeSuperseded() // what it can't remove, the next maker tries again
	return s.Get(o.Ref)
}

// move gives tmp the name dir; a damaged thing of that name goes to tmp.
func move(tmp, dir string) error {
	err := os.Rename(tmp, dir)
	if errors.Is(err, fs.ErrExist) || errors.Is(err, unix.ENOTEMPTY) {
		err = unix.Renameat2(unix.AT_FDCWD, tmp, unix.AT_FDCWD, dir, unix.RENAME_EXCHANGE)
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: tmp, New: dir, Err: err}
	}
	return nil
}

// seal hashes and syncs all files of tmp, and writes its record.
func seal(tmp string, meta any) (string, error) {
	names, err := os.ReadDir(tmp)
	if err != nil {
		return "", err
	}
	r := record{Files: map[string]string{}}
	for _, n := range names {
		if !n.Type().IsRegular() {
			return "", fmt.Errorf("%q is not a file", n.Name())
		}
		if r.Files[n.Name()], err = hashFile(filepath.Join(tmp, n.Name()), true); err != nil {
			return "", err
		}
	}
	if len(r.Files) == 0 {
		return "", errors.New("nothing was made")
	}
	r.Digest = digestOf(r.Files)
	if r.Meta, err = json.Marshal(meta); err != nil {
		return "", err
	}
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return "", err
	}
	if err := durable.Replace(filepath.Join(tmp, metaFile), append(text, '\n')); err != nil {
		return "", err
	}
	writeStamps(tmp, r.Files)
	return r.Digest, durable.SyncDir(tmp)
}

// digestOf names a thing: by its file's own hash, or by that of the list of
// names and hashes where there are several.
func digestOf(files map[string]string) string {
	var names []string
	for n := range files {
		names = append(names, n)
	}
	slices.Sort(names)
	if len(names) == 1 {
		return prefix + files[names[0]]
	}
	all := sha256.New()
	for _, n := range names {
		fmt.Fprintf(all, "%s %s\n", files[n], n)
	}
	return prefix + hex.EncodeToString(all.Sum(nil))
}
