package disk

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/durable"
	"banger/internal/process"
	"banger/internal/vm"
)

// Limits bound the trash. Zero is no limit.
type Limits struct {
	MaxBytes int64
	// MaxAge is time that passed for the trash, see Bound.
	MaxAge time.Duration
}

// Trash holds the directories of deleted VMs for a while. One process owns it;
// its methods may be called from several goroutines.
//
// An entry is a directory whose name alone says what Bound must know, so that
// deleting works with no byte left on the disk.
type Trash struct {
	dir    string
	limits Limits
	now    func() time.Time
	uptime func() (bootID string, since time.Duration)

	mu   sync.Mutex
	last int64 // the highest sequence number so far
	held heldClock
}

// doomed is the prefix of what is being removed: never listed, and removed by
// the next sweep if a crash comes between.
const doomed = ".removing-"

// OpenTrash opens the trash in dir, which is made if it is missing, and finishes
// removals that a crash cut; what can't be removed now, the next Bound tries
// again. Directories that an earlier banger left there are not entries and stay.
func OpenTrash(dir string, l Limits) (*Trash, error) {
	return openTrash(dir, l, time.Now, func() (string, time.Duration) {
		var ts unix.Timespec
		unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) // can't fail for a clock that exists (Linux 2.6.39)
		return process.BootID(), time.Duration(ts.Nano())
	})
}

func openTrash(dir string, l Limits, now func() time.Time, uptime func() (string, time.Duration)) (*Trash, error) {
	if !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("open the trash: %q is not an absolute path", dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the trash: %w", err)
	}
	t := &Trash{dir: filepath.Clean(dir), limits: l, now: now, uptime: uptime}
	list, err := t.names()
	if err != nil {
		return nil, err
	}
	var newest time.Duration
	for _, n := range list {
		t.last = max(t.last, n.seq)
		newest = max(newest, n.held)
	}
	t.held = readHeld(t.dir, newest)
	t.tick()
	t.sweep() // Bound reports what it can't remove
	return t, nil
}

// PutOptions say what a deleted VM was.
type PutOptions struct {
	Name string // "" or not valid: the entry has none
	ID   vm.ID
	// Session says that the VM was made with --rm: it goes before VMs that
	// somebody deleted.
	Session bool
	// NotSaved says why work in the VM was not saved, "" if all was. Such an entry
	// goes only if Empty is told its name. On a full disk the reason may be lost,
	// the fact is not.
	NotSaved string
}

// Put moves a VM's directory into the trash, in one step: after a crash it is
// either here or there. dir must lie on the trash's file system. A directory
// that is gone is no error, so that a delete can be repeated. It needs no free
// byte on the disk.
func (t *Trash) Put(dir string, o PutOptions) error {
	if err := vm.CheckID(string(o.ID)); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if o.NotSaved != "" {
		writeReason(dir, o.NotSaved)
	}
	t.last++
	n := entryName{seq: t.last, at: t.now(), held: t.tick(), id: o.ID, session: o.Session, notSaved: o.NotSaved != ""}
	if vm.CheckName(o.Name) == nil {
		n.name = o.Name
	}
	err := os.Rename(dir, filepath.Join(t.dir, n.String()))
	if errors.Is(err, fs.ErrNotExist) {
		if _, serr := os.Lstat(dir); errors.Is(serr, fs.ErrNotExist) {
			return nil
		}
	}
	if err != nil {
		return err
	}
	return syncBoth(t.dir, filepath.Dir(dir))
}

// syncBoth syncs the two directories of a rename. A power loss may undo an
// unsynced rename, never tear it: so a full disk is no reason to fail.
func syncBoth(a, b string) error {
	if err := errors.Join(durable.SyncDir(a), durable.SyncDir(b)); err != nil && !isFull(err) {
		return err
	}
	return nil
}

// Restore moves e's directory to the path to, which must not exist, in one
// step. ErrNotInTrash says that e is not there any more.
func (t *Trash) Restore(e Entry, to string) error {
	if _, ok := parseEntry(filepath.Base(e.Dir)); !ok || directlyBelow(t.dir, e.Dir) != nil {
		return fmt.Errorf("restore %q: %w", e.Dir, ErrNotInTrash)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, err := os.Lstat(e.Dir); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("restore VM %q: %w", e.label(), ErrNotInTrash)
	}
	// A plain rename would replace an empty directory.
	err := unix.Renameat2(unix.AT_FDCWD, e.Dir, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // a file system without that flag
		if _, serr := os.Lstat(to); serr == nil {
			err = unix.EEXIST
		} else {
			err = os.Rename(e.Dir, to)
		}
	}
	if err != nil {
		return fmt.Errorf("restore VM %q to %q: %w", e.label(), to, err)
	}
	os.Remove(filepath.Join(to, reasonFile))
	return syncBoth(filepath.Dir(to), t.dir)
}

// Discard removes dir, a VM's directory directly below root, for good and past
// the trash. It first takes a name that the next OpenTrash or Bound removes, so
// that a crash leaves no half VM under its own name. A directory that is gone is
// no error.
func (t *Trash) Discard(root, dir string) error {
	if err := directlyBelow(root, dir); err != nil {
		return fmt.Errorf("remove %q: %w", dir, err)
	}
	dead, err := t.doom(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, unix.EXDEV): // no one name for both places
		return Remove(root, dir)
	case err != nil:
		return err
	}
	return Remove(t.dir, dead)
}

// doom gives dir a name in the trash that the next sweep removes.
func (t *Trash) doom(dir string) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last++ // no two have one name
	dead := filepath.Join(t.dir, fmt.Sprintf("%s%d-%s", doomed, t.last, filepath.Base(dir)))
	if _, err := os.Lstat(dead); err == nil { // of an earlier process
		dead += fmt.Sprintf("-%d", t.now().UnixNano())
	}
	if err := os.Rename(dir, dead); err != nil {
		return "", err
	}
	return dead, syncBoth(t.dir, filepath.Dir(dir))
}

// sweep removes what was doomed.
func (t *Trash) sweep() error {
	list, err := os.ReadDir(t.dir)
	if err != nil {
		return fmt.Errorf("read the trash: %w", err)
	}
	for _, e := range list {
		if strings.HasPrefix(e.Name(), doomed) {
			err = errors.Join(err, Remove(t.dir, filepath.Join(t.dir, e.Name())))
		}
	}
	return err
}

// names reads the entries' names, in no order.
func (t *Trash) names() ([]entryName, error) {
	list, err := os.ReadDir(t.dir)
	if err != nil {
		return nil, fmt.Errorf("read the trash: %w", err)
	}
	var out []entryName
	for _, d := range list {
		if n, ok := parseEntry(d.Name()); ok && d.IsDir() {
			out = append(out, n)
		}
	}
	return out, nil
}

// List returns what is in the trash, newest first: by the order of the
// deletions, not by the clock. It writes nothing.
func (t *Trash) List() ([]Entry, error) {
	list, err := t.names()
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b entryName) int { return int(b.seq - a.seq) })
	var out []Entry
	for _, n := range list {
		if e, ok := n.entry(t.dir); ok {
			out = append(out, e)
		}
	}
	return out, nil
}

// reasonFile says in an entry why it was not saved.
const reasonFile = "trash.json"

type reason struct {
	NotSaved string `json:"not_saved"`
}

// writeReason may fail, on a full disk, at the price of the reason.
func writeReason(dir, text string) {
	path := filepath.Join(dir, reasonFile)
	if b, err := json.Marshal(reason{text}); err == nil && os.WriteFile(path, b, 0o600) != nil {
		os.Remove(path)
	}
}
