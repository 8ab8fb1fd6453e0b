package workspace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"banger/internal/disk"
	"banger/internal/git"
	"banger/internal/workspace/wire"
)

// Room says how many bytes of the disk a work may still take, measured at each call:
// what is in quarantine counts as taken. It may be negative. A nil Room is that of the
// largest pack.
type Room func() (int64, error)

// forPack is what a pack may take that comes in, at most maxPack. A guest sends all that
// is new since the base, though most of it came with an earlier save: came, the bytes of
// those, are not asked for twice.
func (r Room) forPack(came int64) (int64, error) {
	if r == nil {
		return maxPack, nil
	}
	n, err := r()
	return min(max(n+came, 0), maxPack), err
}

// ErrNoRoom says that a work takes more than the room that there is for it.
var ErrNoRoom = errors.New("it takes more than there is room for")

// intake is a pack on its way into a quarantine: never more than limit bytes of it. A
// copy is kept for a second look, if the pack fits there twice.
// intake's Read may still wait for the guest when the rest is done.
type intake struct {
	mu    sync.Mutex
	over  bool // nobody reads any more
	in    io.Reader
	limit int64
	taken int64
	copy  *os.File // nil if it did not fit
	err   error    // why it ended before the pack did: ErrNoRoom, or the copy's
}

func (t *intake) Read(p []byte) (int, error) {
	if err := t.failed(); err != nil {
		return 0, err
	}
	n, err := t.in.Read(p)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return 0, io.ErrClosedPipe
	}
	t.taken += int64(n)
	if t.taken > t.limit {
		t.err = ErrNoRoom
		return 0, t.err
	}
	if t.copy != nil && t.taken > t.limit/2 {
		t.dropCopy()
	}
	if t.copy != nil {
		if _, werr := t.copy.Write(p[:n]); werr != nil {
			t.err = werr
			return 0, werr
		}
	}
	return n, err
}

func (t *intake) failed() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

func (t *intake) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
	t.dropCopy()
}

func (t *intake) dropCopy() {
	if t.copy != nil {
		os.Remove(t.copy.Name())
		t.copy.Close()
		t.copy = nil
	}
}

// worthLooking is how large a pack is, in bytes, that may hold enough of what came before:
// to take that out of a smaller one takes as long as the rest of its import.
const worthLooking = 128 << 10

// onlyNew takes out of the pack what came with an earlier one. If that can't be done, it
// stays as it is.
func (q *quarantine) onlyNew(ctx context.Context, i Info, r wire.Report) error {
	if packs, _, err := q.store.packs(); err != nil || len(packs) == 0 {
		return err
	}
	if n, err := disk.Used(filepath.Join(q.dir, "pack")); err != nil || n <= worthLooking {
		return err
	}
	var list strings.Builder
	for id := range named(r) {
		list.WriteString(id + "\n")
	}
	list.WriteString("--not\n" + i.Tree + "\n")
	if w, err := q.store.Work(); err == nil {
		list.WriteString(w.Tree + "\n")
	}
	refs, err := listRefs(ctx, q.store.git(), "refs/")
	if err != nil {
		return err
	}
	for _, ref := range refs {
		list.WriteString(ref.id + "\n")
	}
	only := filepath.Join(q.dir, "only")
	if err := os.MkdirAll(filepath.Join(only, "pack"), 0o700); err != nil {
		return err
	}
	_, err = q.git.Run(ctx, strings.NewReader(list.String()),
		"pack-objects", "-q", "--revs", "--non-empty", "--delta-base-offset", filepath.Join(only, "pack", "pack"))
	if err == nil {
		err = connected(ctx, q.store.git(q.environ(only)...), r, i.Base)
	}
	if err != nil { // no room for it, or the store has gaps, as a partial clone has
		return os.RemoveAll(only)
	}
	if err := os.RemoveAll(filepath.Join(q.dir, "pack")); err != nil {
		return err
	}
	return os.Rename(filepath.Join(only, "pack"), filepath.Join(q.dir, "pack"))
}

// packs lists the packs that saves brought, without their endings, and their bytes.
func (s Store) packs() (names []string, bytes int64, err error) {
	entries, err := os.ReadDir(filepath.Join(s.repo(), "objects", "pack"))
	if err != nil {
		return nil, 0, err
	}
	kept := map[string]bool{}
	for _, e := range entries {
		if base, is := strings.CutSuffix(e.Name(), endingKeep); is {
			kept[base] = true
		}
	}
	if len(kept) == 0 {
		return nil, 0, nil // which one is the base's is not known
	}
	for _, e := range entries {
		base, is := strings.CutSuffix(e.Name(), ".pack")
		if fi, err := e.Info(); is && err == nil && !kept[base] {
			names, bytes = append(names, base), bytes+fi.Size()
		}
	}
	return names, bytes, nil
}

// UsedBytes is how much of the host's disk the store takes.
func (s Store) UsedBytes() (int64, error) { return disk.Used(s.Dir) }

// UsedBytes is how much of the host's disk the stores in dir take, those of the VM id,
// and all.
func UsedBytes(dir, id string) (own, all int64, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, 0, nil
	} else if err != nil {
		return 0, 0, err
	}
	seen := map[disk.File]bool{}
	for _, e := range entries {
		if IsLease(e.Name()) {
			continue
		}
		n, err := disk.UsedOnce(filepath.Join(dir, e.Name()), seen) // what was set aside shares its objects
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, 0, err
		}
		all += n
		if of, _, _ := strings.Cut(e.Name(), "-"); of == id {
			own += n
		}
	}
	return own, all, nil
}

// nearlyFull is how much room git must have had not to fail for want of it, in bytes.
const nearlyFull = 64 << 10

// explainFull says ENOSPC of an error of git's if the file system of dir is full: not
// all of git's commands tell why they could not write.
func explainFull(err error, dir string) error {
	var failed *git.Error
	var st unix.Statfs_t
	if !errors.As(err, &failed) || errors.Is(err, unix.ENOSPC) || unix.Statfs(dir, &st) != nil || int64(st.Bavail)*st.Bsize >= nearlyFull {
		return err
	}
	return fmt.Errorf("%w: %w", err, unix.ENOSPC)
}
