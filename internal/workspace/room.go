package workspace

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"banger/internal/disk"
	"banger/internal/git"
)

// Room says how many bytes of the disk a work may still take, measured at each call:
// what is in quarantine counts as taken. It may be negative. A nil Room is that of the
// largest pack.
type Room func() (int64, error)

// left is what a pack may take, at most maxPack.
func (r Room) left() (int64, error) {
	if r == nil {
		return maxPack, nil
	}
	n, err := r()
	return min(max(n, 0), maxPack), err
}

// ErrNoRoom says that a work takes more than the room that there is for it.
var ErrNoRoom = errors.New("it takes more than there is room for")

// intake is a pack on its way into a quarantine: never more than limit bytes of it. A
// copy is kept for a second look, if the pack fits there twice.
type intake struct {
	in    io.Reader
	limit int64
	taken int64
	copy  *os.File // nil if it did not fit
	err   error    // why it ended before the pack did: ErrNoRoom, or the copy's
}

func (t *intake) Read(p []byte) (int, error) {
	if t.err != nil {
		return 0, t.err
	}
	n, err := t.in.Read(p)
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

func (t *intake) dropCopy() {
	if t.copy != nil {
		os.Remove(t.copy.Name())
		t.copy.Close()
		t.copy = nil
	}
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
	for _, e := range entries {
		if IsLease(e.Name()) {
			continue
		}
		n, err := disk.Used(filepath.Join(dir, e.Name()))
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
