package autostart

import (
	"encoding/json"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"banger/internal/api"
)

// maxLock bounds a lock file, in bytes: a path, a version, a number.
const maxLock = 16 << 10

// ReadLock returns what the lock file at path says of the daemon that holds it.
// held is false if no process holds the lock; the file's text is then a dead
// daemon's and is not returned. A text that can't be read gives an empty Lock.
func ReadLock(path string) (l api.Lock, held bool) {
	f, err := os.Open(path)
	if err != nil {
		return api.Lock{}, false
	}
	defer f.Close() // drops the lock that the question may take
	// A shared lock: two programs that ask at once don't take each other for a
	// daemon. A daemon that starts in this moment tries again.
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if !errors.Is(err, unix.EWOULDBLOCK) {
		return api.Lock{}, false
	}
	if json.NewDecoder(io.LimitReader(f, maxLock)).Decode(&l) != nil {
		l = api.Lock{}
	}
	return l, true
}
