package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/vm"
)

// ErrHeld says that a supervisor, or who starts one, holds the lock of the run.
var ErrHeld = errors.New("the run is held by its supervisor")

// A Held elsewhere shares the lock for an instant.
const (
	lockTries = 20
	lockPause = 5 * time.Millisecond
)

// TakeLock takes the lock of the VM's run in dir and empties its file, or returns
// ErrHeld. The lock is flock(2)'s, so it belongs to the open file: it is held as
// long as any process has that open, and gone with the last of them, however it
// ended. Spawn hands it to the supervisor.
func TakeLock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, LockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for range lockTries {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
			break
		}
		time.Sleep(lockPause) // nobody tells when a lock is free, but a wait that can't be given up
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrHeld
		}
		return nil, fmt.Errorf("lock %q: %w", f.Name(), err)
	}
	return f, nil
}

// Held reports whether the lock of the run in dir is held, and by which
// supervisor: nil if it has not said so yet. It asks no process, so the answer
// is the same for one that is stopped, frozen or swapped out.
func Held(dir string) (held bool, by *vm.Process, err error) {
	f, err := os.Open(filepath.Join(dir, LockFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil, nil
	}
	if err != nil {
		return false, nil, err
	}
	defer f.Close() // it lets the lock go too
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if err == nil {
		return false, nil, nil
	}
	if !errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil, fmt.Errorf("look at the lock %q: %w", f.Name(), err)
	}
	text, err := io.ReadAll(io.LimitReader(f, 4<<10))
	if err != nil {
		return true, nil, err
	}
	var p vm.Process
	if json.Unmarshal(text, &p) != nil || p.PID == 0 {
		return true, nil, nil
	}
	return true, &p, nil
}

// keepLock takes over the lock that the starter of this supervisor took, and
// writes into its file who holds it from now on. A full disk costs only that: the
// lock is held, and Held's by is nil.
func keepLock(fd int, self vm.Process) (*os.File, error) {
	unix.CloseOnExec(fd) // the VMM does not hold it
	f := os.NewFile(uintptr(fd), LockFile)
	// The lock is this open file's already: to take it again changes nothing.
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, fmt.Errorf("take the run's lock from descriptor %d: %w", fd, err)
	}
	text, err := json.Marshal(self)
	if err != nil {
		return nil, err
	}
	if _, err := f.WriteAt(text, 0); err != nil {
		slog.Warn("write into the run's lock who holds it", "err", err)
	}
	return f, nil
}
