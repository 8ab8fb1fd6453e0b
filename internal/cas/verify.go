package cas

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"banger/internal/durable"
)

// stampFile keeps how a thing's files were when they were last hashed. It is
// a cache: without it they are hashed again.
const stampFile = "stamps.json"

// stamp is what changes when a file is written, replaced or restored from a
// backup. Times are nanoseconds.
type stamp struct {
	Inode uint64 `json:"inode"`
	Size  int64  `json:"size"`
	Mtime int64  `json:"mtime"`
	Ctime int64  `json:"ctime"`
}

func stampOf(path string) (stamp, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return stamp{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return stamp{st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano()}, nil
}

// verify hashes files that changed since they were last hashed.
func verify(dir string, files map[string]string) error {
	var known map[string]stamp
	if text, err := os.ReadFile(filepath.Join(dir, stampFile)); err == nil {
		json.Unmarshal(text, &known) // unreadable stamps are none
	}
	changed := false
	for name, want := range files {
		path := filepath.Join(dir, name)
		st, err := stampOf(path)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%q is gone: %w", path, ErrDamaged)
		}
		if err != nil {
			return err
		}
		if k, ok := known[name]; ok && k == st {
			continue
		}
		got, err := hashFile(path, false)
		if err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("%q is %w: its SHA-256 is %s, not %s", path, ErrDamaged, got, want)
		}
		changed = true
	}
	if changed {
		writeStamps(dir, files)
	}
	return nil
}

// writeStamps may fail, on a full or read-only disk, at the price of another
// hashing.
func writeStamps(dir string, files map[string]string) {
	stamps := map[string]stamp{}
	for name := range files {
		st, err := stampOf(filepath.Join(dir, name))
		if err != nil {
			return
		}
		stamps[name] = st
	}
	if text, err := json.Marshal(stamps); err == nil {
		durable.Replace(filepath.Join(dir, stampFile), text)
	}
}

func hashFile(path string, sync bool) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	if sync {
		if err := f.Sync(); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
