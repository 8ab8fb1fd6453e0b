// Package durable writes files so that a crash, of the program or of the host,
// leaves either the old file or the new one, whole. It knows no file of
// banger's.
//
// Its functions keep no state and may be called at once; of two that replace
// one file, the later rename counts.
package durable

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// leftover is the end of a temporary file's name, which begins with a dot.
const leftover = ".new"

// Replace puts text into the file at path, mode 0600. When it returns nil the
// new file is on the disk under that name. On an error the old file, or none, is
// still there and the temporary file is removed; only if the last step, the sync
// of the directory, fails is the new file there already. A crash can leave a
// temporary file, for Sweep.
func Replace(path string, text []byte) error {
	dir := filepath.Dir(path)
	f, err := create(dir)
	if err != nil {
		return fmt.Errorf("write %q: %w", path, err)
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	var tmp string
	if err == nil {
		tmp, err = link(f, path)
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		if tmp != "" {
			os.Remove(tmp)
		}
		return fmt.Errorf("write %q: %w", path, err)
	}
	return SyncDir(dir)
}

// create makes a file of mode 0600 in dir that has no name yet, so that a crash
// leaves nothing of it (open(2), O_TMPFILE).
func create(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return os.NewFile(uintptr(fd), dir), nil
}

// link gives f a name beside path, for a moment.
func link(f *os.File, path string) (string, error) {
	for {
		tmp := filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s.%08x%s", filepath.Base(path), rand.Uint32(), leftover))
		err := unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), unix.AT_FDCWD, tmp, unix.AT_SYMLINK_FOLLOW)
		if !errors.Is(err, unix.EEXIST) {
			return tmp, err
		}
	}
}

// Sweep removes the temporary files that crashes left in dir. Nobody may be
// writing there.
func Sweep(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if name := e.Name(); strings.HasPrefix(name, ".") && strings.HasSuffix(name, leftover) && e.Type().IsRegular() {
			err = errors.Join(err, os.Remove(filepath.Join(dir, name)))
		}
	}
	return err
}

// SyncDir puts the names in dir on the disk: files that were made, renamed or
// removed there stay so after a power failure.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync directory %q: %w", dir, err)
	}
	return nil
}

// Mkdir makes the directory at path, mode 0700, and puts its name on the disk.
// Its parent must exist. A path that exists is fs.ErrExist. An error leaves no
// new directory.
func Mkdir(path string) error {
	if err := os.Mkdir(path, 0o700); err != nil {
		return err
	}
	if err := SyncDir(filepath.Dir(path)); err != nil {
		os.Remove(path)
		return err
	}
	return nil
}
