package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"

	"golang.org/x/sys/unix"

	"banger/internal/api"
	"banger/internal/hint"
	"banger/internal/paths"
)

// ErrRunning says that another daemon holds the state directory.
var ErrRunning = errors.New("bangerd is running already")

const elsewhere = "make the directory writable, or set XDG_STATE_HOME to another one"

// checkOwner refuses a state directory of another user: what runs in it could
// not be reached, and what is written to it would be lost to its owner.
func checkOwner(dir string) error {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return fmt.Errorf("look at the state directory %q: %w", dir, err)
	}
	if int(st.Uid) == os.Geteuid() {
		return nil
	}
	who := strconv.Itoa(int(st.Uid))
	if u, err := user.LookupId(who); err == nil {
		who = u.Username
	}
	return hint.Add(fmt.Errorf("the state directory %q (by %s) belongs to user %s, and bangerd runs as uid %d", dir, paths.From("XDG_STATE_HOME"), who, os.Geteuid()),
		"run banger as "+who+", or set HOME and XDG_STATE_HOME to your own")
}

// takeLock takes the state directory's lock, which goes with the process, and
// writes into the file who holds it and where it listens.
func takeLock(dirs paths.Dirs) (*os.File, error) {
	path := dirs.Lock()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, hint.Add(fmt.Errorf("lock the state directory: %w", err), elsewhere)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrRunning
		}
		return nil, fmt.Errorf("lock %q: %w", path, err)
	}
	text, err := json.Marshal(api.Lock{PID: os.Getpid(), Version: api.ProgramVersion(), Socket: dirs.Socket()})
	if err == nil {
		if _, err = f.WriteAt(append(text, '\n'), 0); err == nil {
			err = f.Truncate(int64(len(text) + 1))
		}
	}
	if err != nil && !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) && !errors.Is(err, unix.EROFS) {
		f.Close()
		return nil, fmt.Errorf("write %q: %w", path, err)
	}
	return f, nil // on a full disk the socket is found by its usual name
}
