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
	"os"
	"path/filepath"
)

// Replace puts text into the file at path, mode 0600. When it returns nil the
// new file is on the disk under that name. On an error the old file, or none, is
// still there and the temporary file is removed; only if the last step, the sync
// of the directory, fails is the new file there already.
func Replace(path string, text []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*") // CreateTemp's mode is 0600
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("write %q: %w", path, err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		os.Remove(f.Name())
		return err
	}
	return SyncDir(dir)
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
