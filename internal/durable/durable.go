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
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// leftover is the end of a temporary file's name, which begins with a dot.
const leftover = ".new"

// Replace puts text into the file at path, mode 0600, as Write does.
func Replace(path string, text []byte) error {
	return Write(path, 0o600, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
}

// Write puts what write writes into the file at path, with a mode less the umask. When
// it returns nil the new file is on the disk under that name. On an error the old file,
// or none, is still there and the temporary file is removed; only if the last step, the
// sync of the directory, fails is the new file there already. A crash at the last moment
// can leave a temporary file, for Sweep; on a file system that has no files without a
// name, any crash can.
func Write(path string, mode fs.FileMode, write func(io.Writer) error) error {
	f, tmp, err := create(path, mode)
	if err != nil {
		return fmt.Errorf("write %q: %w", path, err)
	}
	if err = write(f); err == nil {
		err = f.Sync()
	}
	if err == nil && tmp == "" {
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
	return SyncDir(filepath.Dir(path))
}

// create makes a file beside path that has no name yet, so that a crash leaves nothing of
// it (open(2), O_TMPFILE), or, where there are no such files, one of the name tmp.
func create(path string, mode fs.FileMode) (f *os.File, tmp string, err error) {
	dir := filepath.Dir(path)
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, uint32(mode))
	switch {
	case err == nil:
		return os.NewFile(uintptr(fd), dir), "", nil
	case !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EISDIR):
		return nil, "", &os.PathError{Op: "open", Path: dir, Err: err}
	}
	for {
		tmp = tempName(path)
		f, err = os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
		if !errors.Is(err, fs.ErrExist) {
			return f, tmp, err
		}
	}
}

// tempName is a name beside path that Sweep knows.
func tempName(path string) string {
	return filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s.%08x%s", filepath.Base(path), rand.Uint32(), leftover))
}

// link gives f a name beside path, for a moment.
func link(f *os.File, path string) (string, error) {
	for {
		tmp := tempName(path)
		err := unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), unix.AT_FDCWD, tmp, unix.AT_SYMLINK_FOLLOW)
		if errors.Is(err, unix.EEXIST) {
			continue
		}
		if err != nil {
			return "", &os.PathError{Op: "link", Path: tmp, Err: err}
		}
		return tmp, nil
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
