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

	"golang.org/x/sys/unix"

	"banger/internal/durable"
	"banger/internal/hint"
)

// Git's own lock of an index, and the name that an apply's has in its journal too. A
// lock that is there is the journal's if both are one file: so what a cut apply left is
// told from the lock of a git that is at work.
const (
	gitIndexLock = "index.lock"
	ownIndexLock = "lock"
)

// ErrIndexLocked says that a git has the index, or left its lock when it was ended.
var ErrIndexLocked = errors.New("git has locked the index of this repository (index.lock)")

func indexLocked(r *Repository) error {
	return hint.Add(ErrIndexLocked, "wait until git is done; if none runs there, remove "+filepath.Join(r.GitDir, gitIndexLock))
}

// isIndexLocked reports whether somebody has git's lock.
func isIndexLocked(r *Repository) bool {
	_, err := os.Lstat(filepath.Join(r.GitDir, gitIndexLock))
	return err == nil
}

// lockIndex takes git's lock of the index for the journal in dir. It may have it
// already.
func lockIndex(r *Repository, dir string) error {
	own, lock := filepath.Join(dir, ownIndexLock), filepath.Join(r.GitDir, gitIndexLock)
	if err := unlockIndex(r, dir); err != nil {
		return err
	}
	if err := writeNew(own, strings.NewReader(""), 0o600); err != nil {
		return err
	}
	err := os.Link(own, lock)
	switch {
	case errors.Is(err, fs.ErrExist):
		return indexLocked(r)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("the index can't be locked: the file system of %q has no hard links", r.GitDir)
	}
	return err
}

// unlockIndex gives git's lock back, if the journal in dir has it.
func unlockIndex(r *Repository, dir string) error {
	own, lock := filepath.Join(dir, ownIndexLock), filepath.Join(r.GitDir, gitIndexLock)
	mine, err := os.Lstat(own)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if fi, err := os.Lstat(lock); err == nil && os.SameFile(fi, mine) {
		if err := os.Remove(lock); err != nil {
			return err
		}
	}
	return os.Remove(own)
}

// fillIndex writes the lock's content, the index to be, with the permissions of the
// present one and the time of the file at content: git looks anew at files that are
// younger than their index (racy-git).
func fillIndex(r *Repository, dir, content string) error {
	in, err := openRegular(content)
	if err != nil {
		return err
	}
	defer in.Close()
	fi, err := in.Stat()
	if err != nil {
		return err
	}
	own := filepath.Join(dir, ownIndexLock)
	f, err := os.OpenFile(own, os.O_WRONLY|os.O_TRUNC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.Copy(f, in); err != nil {
		return err
	}
	perm := fs.FileMode(0o666 &^ umask())
	if now, err := os.Lstat(filepath.Join(r.GitDir, "index")); err == nil && now.Mode().IsRegular() {
		perm = now.Mode().Perm()
	}
	if err := f.Chmod(perm); err != nil {
		return err
	}
	if err := os.Chtimes(own, fi.ModTime(), fi.ModTime()); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}

// placeIndex renames the lock into the index, as git does.
func placeIndex(r *Repository, dir string) error {
	if err := os.Rename(filepath.Join(r.GitDir, gitIndexLock), filepath.Join(r.GitDir, "index")); err != nil {
		return err
	}
	if err := durable.SyncDir(r.GitDir); err != nil {
		return err
	}
	return os.Remove(filepath.Join(dir, ownIndexLock))
}

// checkIndex compares the index, which is locked, with what the merge saw: the
// journal's old one.
func (x *transaction) checkIndex(context.Context) error {
	changed := &ChangedError{[]byte(filepath.Join(dotGit, "index"))}
	name, old := filepath.Join(x.r.GitDir, "index"), filepath.Join(x.dir, indexSeen)
	_, err := os.Lstat(name)
	_, oldErr := os.Lstat(old)
	if none := errors.Is(err, fs.ErrNotExist); none || errors.Is(oldErr, fs.ErrNotExist) {
		if none && oldErr != nil {
			return nil
		}
		return changed
	}
	f, err := openRegular(name)
	if err != nil {
		return err
	}
	defer f.Close()
	same, err := sameAs(f, old)
	if err == nil && !same {
		err = changed
	}
	return err
}
