package disk

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"sync"
	"time"
)

// Limits bound a trash: the newest entries are kept up to both.
type Limits struct {
	MaxBytes int64 // really allocated
	MaxAge   time.Duration
}

// Trash keeps deleted VMs' directories. Its methods may be called at once, by
// one process.
type Trash struct {
	dir    string
	limits Limits
	mu     sync.Mutex
}

// Entry is one deleted VM.
type Entry struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	DeletedAt time.Time `json:"deleted_at"`
	UsedBytes int64     `json:"-"`
	dir       string
}

// entryFile lies in each directory of the trash. Without it the directory's
// name and time say what is known.
const entryFile = "deleted.json"

// OpenTrash opens the trash in dir, making the directory.
func OpenTrash(dir string, l Limits) (*Trash, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return &Trash{dir: dir, limits: l}, nil
}

// Put moves a VM's directory, on the same file system, into the trash. It
// takes no space, so that a full disk does not stop it. A directory that is
// gone already is no error.
func (t *Trash) Put(vmDir, name, id string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now().UTC()
	if text, err := json.Marshal(Entry{ID: id, Name: name, DeletedAt: now}); err == nil {
		os.WriteFile(filepath.Join(vmDir, entryFile), text, 0o600) // a full disk costs the name alone
	}
	dst := filepath.Join(t.dir, id)
	err := os.Rename(vmDir, dst)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// List returns all entries, the newest first.
func (t *Trash) List() ([]Entry, error) {
	names, err := os.ReadDir(t.dir)
	if err != nil {
		return nil, err
	}
	var out []Entry
	for _, n := range names {
		dir := filepath.Join(t.dir, n.Name())
		var e Entry
		text, err := os.ReadFile(filepath.Join(dir, entryFile))
		if err != nil || json.Unmarshal(text, &e) != nil {
			e = Entry{}
			if fi, err := n.Info(); err == nil {
				e.DeletedAt = fi.ModTime()
			}
		}
		e.ID, e.dir = n.Name(), dir
		filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				n, _ := Used(p)
				e.UsedBytes += n
			}
			return nil
		})
		out = append(out, e)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].DeletedAt.After(out[j].DeletedAt) })
	return out, nil
}

// Empty removes all entries, and tells how many they were and what they took.
func (t *Trash) Empty() (entries int, bytes int64, err error) {
	return t.drop(func(Entry, int64) bool { return true })
}

// Bound removes what is beyond the limits, the oldest first.
func (t *Trash) Bound() error {
	_, _, err := t.drop(func(e Entry, newer int64) bool {
		return time.Since(e.DeletedAt) > t.limits.MaxAge || newer+e.UsedBytes > t.limits.MaxBytes
	})
	return err
}

// drop removes the entries that over picks; it is told what the newer kept ones
// take.
func (t *Trash) drop(over func(e Entry, newer int64) bool) (entries int, bytes int64, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	list, err := t.List()
	if err != nil {
		return 0, 0, err
	}
	var newer int64
	for _, e := range list {
		if !over(e, newer) {
			newer += e.UsedBytes
			continue
		}
		if rerr := Remove(e.dir); rerr != nil {
			err = errors.Join(err, fmt.Errorf("remove %q from the trash: %w", e.ID, rerr))
			continue
		}
		entries++
		bytes += e.UsedBytes
	}
	return entries, bytes, err
}
