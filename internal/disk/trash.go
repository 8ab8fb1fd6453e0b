package disk

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"banger/internal/vm"
)

// Limits bound the trash. Zero is no limit.
type Limits struct {
	MaxBytes int64
	MaxAge   time.Duration
}

// Trash holds the directories of deleted VMs for a while. One process owns it;
// its methods may be called from several goroutines.
//
// An entry is a directory named TIME-ID: that alone says when and what, so
// that deleting works with no byte left on the disk.
type Trash struct {
	dir    string
	limits Limits
	now    func() time.Time
	mu     sync.Mutex
}

// Entry is a deleted VM.
type Entry struct {
	ID        string
	Name      string // "" where it can't be told any more
	DeletedAt time.Time
	UsedBytes int64
	Dir       string // where its files are now
}

// metaFile says in an entry what its name can't.
const metaFile = "trash.json"

type meta struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	DeletedAt time.Time `json:"deleted_at"`
}

const (
	// stampForm sorts as time does; fixed width, UTC.
	stampForm = "20060102T150405.000000000Z"
	doomed    = ".removing-" // prefix of what is being removed
)

// OpenTrash opens the trash in dir, which is made where it is missing, and
// finishes removals that a crash cut.
func OpenTrash(dir string, l Limits) (*Trash, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the trash: %w", err)
	}
	t := &Trash{dir: dir, limits: l, now: time.Now}
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read the trash: %w", err)
	}
	for _, e := range list {
		if strings.HasPrefix(e.Name(), doomed) {
			if err := Remove(filepath.Join(dir, e.Name())); err != nil {
				return nil, fmt.Errorf("read the trash: %w", err)
			}
		}
	}
	return t, nil
}

// Put moves a VM's directory into the trash, in one step: after a crash it is
// either here or there. dir must lie on the trash's file system. A directory
// that is gone is no error, so that a delete can be repeated.
func (t *Trash) Put(dir, name, id string) error {
	if err := vm.CheckID(id); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	at := t.now().UTC()
	// For later readers; the name of the entry says the most, and vm.json the
	// rest, so a full disk changes nothing.
	if text, err := json.Marshal(meta{ID: id, Name: name, DeletedAt: at}); err == nil {
		if os.WriteFile(filepath.Join(dir, metaFile), append(text, '\n'), 0o600) != nil {
			os.Remove(filepath.Join(dir, metaFile))
		}
	}
	err := os.Rename(dir, filepath.Join(t.dir, at.Format(stampForm)+"-"+id))
	if errors.Is(err, fs.ErrNotExist) {
		if _, serr := os.Lstat(dir); errors.Is(serr, fs.ErrNotExist) {
			return nil
		}
	}
	if err != nil {
		return err
	}
	// A power loss may undo an unsynced rename, never tear it.
	if err := errors.Join(syncDir(t.dir), syncDir(filepath.Dir(dir))); err != nil && !isFull(err) {
		return err
	}
	return nil
}

// List returns what is in the trash, newest first.
func (t *Trash) List() ([]Entry, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.list()
}

func (t *Trash) list() ([]Entry, error) {
	names, err := os.ReadDir(t.dir)
	if err != nil {
		return nil, fmt.Errorf("read the trash: %w", err)
	}
	var out []Entry
	for _, n := range names {
		stamp, id, _ := strings.Cut(n.Name(), "-")
		at, err := time.Parse(stampForm, stamp)
		if err != nil || vm.CheckID(id) != nil || !n.IsDir() {
			continue // not ours
		}
		e := Entry{ID: id, DeletedAt: at, Dir: filepath.Join(t.dir, n.Name())}
		e.Name = nameIn(e.Dir)
		if e.UsedBytes, err = Used(e.Dir); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			return nil, fmt.Errorf("measure %q: %w", e.Dir, err)
		}
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b Entry) int { return b.DeletedAt.Compare(a.DeletedAt) })
	return out, nil
}

// nameIn reads a deleted VM's name, from trash.json or else from its record.
func nameIn(dir string) string {
	var m meta
	if readJSON(filepath.Join(dir, metaFile), &m) == nil && vm.CheckName(m.Name) == nil {
		return m.Name
	}
	var r vm.Record
	if readJSON(filepath.Join(dir, "vm.json"), &r) == nil && vm.CheckName(r.Spec.Name) == nil {
		return r.Spec.Name
	}
	return ""
}

func readJSON(path string, v any) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return json.NewDecoder(io.LimitReader(f, 256<<10)).Decode(v)
}

// Empty removes everything in the trash and says how much that was. It goes on
// after an error.
func (t *Trash) Empty() (entries int, usedBytes int64, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	list, err := t.list()
	if err != nil {
		return 0, 0, err
	}
	return t.remove(list)
}

// Bound removes what is too old, and the oldest of what is too much. The
// newest entry stays however large it is: a delete can always be undone for a
// while.
func (t *Trash) Bound() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	list, err := t.list()
	if err != nil {
		return err
	}
	var over []Entry
	var sum int64
	for i, e := range list {
		old := t.limits.MaxAge > 0 && t.now().Sub(e.DeletedAt) > t.limits.MaxAge
		full := t.limits.MaxBytes > 0 && sum+e.UsedBytes > t.limits.MaxBytes && i > 0
		if old || full {
			over = append(over, e)
			continue
		}
		sum += e.UsedBytes
	}
	_, _, err = t.remove(over)
	return err
}

// remove takes each entry out of the list before it is removed: half an entry
// is never listed.
func (t *Trash) remove(list []Entry) (n int, bytes int64, err error) {
	for _, e := range list {
		dead := filepath.Join(t.dir, doomed+filepath.Base(e.Dir))
		rerr := os.Rename(e.Dir, dead)
		if rerr == nil {
			rerr = Remove(dead)
		}
		if rerr != nil {
			err = errors.Join(err, fmt.Errorf("remove %q from the trash: %w", e.ID, rerr))
			continue
		}
		n++
		bytes += e.UsedBytes
	}
	return n, bytes, err
}
