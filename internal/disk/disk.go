// Package disk makes VMs' data disks and keeps deleted ones for a while. Its
// Remove is the one function in banger that removes a disk.
package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"

	"banger/internal/hint"
)

// Create makes a data disk of sizeMiB at path, which must not exist: a copy of
// an empty ext4 of that size, which templates keeps and which is made at the
// first call. It is sparse: about 1 MiB is allocated. An error leaves no file.
func Create(ctx context.Context, path string, sizeMiB int64, templates string) (err error) {
	template := filepath.Join(templates, fmt.Sprintf("ext4-%dMiB", sizeMiB))
	src, err := os.Open(template)
	if errors.Is(err, os.ErrNotExist) {
		if err = makeTemplate(ctx, template, sizeMiB); err == nil {
			src, err = os.Open(template)
		}
	}
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, dst.Close())
		if err != nil {
			os.Remove(path)
		}
	}()
	if err := clone(dst, src); err != nil {
		return fmt.Errorf("copy the empty disk to %q: %w", path, err)
	}
	return dst.Sync()
}

// makeTemplate runs mke2fs on a sparse file. What a fresh file system leaves to
// be done later, zeroing tables, is not needed: a sparse file is zero.
func makeTemplate(ctx context.Context, path string, sizeMiB int64) error {
	program, err := findMke2fs()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	err = f.Truncate(sizeMiB << 20)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	// 16 MiB of journal are enough for a machine of one user and keep small
	// disks usable; no blocks are kept for root, who is the user.
	args := []string{"-q", "-F", "-t", "ext4", "-m", "0", "-L", "banger-data", "-J", "size=" + journalMiB(sizeMiB),
		"-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0", f.Name()}
	if out, err := exec.CommandContext(ctx, program, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("make an empty file system: %w: %.300q", err, out)
	}
	return os.Rename(f.Name(), path)
}

// journalMiB is mke2fs's -J size: 1024 blocks at the least, an eighth of a
// small disk, 16 MiB of any other.
func journalMiB(sizeMiB int64) string { return fmt.Sprint(min(max(sizeMiB/8, 4), 16)) }

// findMke2fs looks in PATH and where PATH of an ordinary user lacks it.
func findMke2fs() (string, error) {
	for _, p := range []string{"mke2fs", "/sbin/mke2fs", "/usr/sbin/mke2fs"} {
		if found, err := exec.LookPath(p); err == nil {
			return found, nil
		}
	}
	return "", hint.Add(errors.New("find mke2fs, which makes empty disks: it is not there"), "sudo apt-get install e2fsprogs")
}

// clone makes dst, an empty file, the same as src: by FICLONE where the file
// system shares blocks, else data by data with the holes kept.
func clone(dst, src *os.File) error {
	if unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())) == nil {
		return nil
	}
	fi, err := src.Stat()
	if err != nil {
		return err
	}
	if err := dst.Truncate(fi.Size()); err != nil {
		return err
	}
	for at := int64(0); ; {
		data, err := unix.Seek(int(src.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // only a hole is left
		}
		if err != nil {
			return err
		}
		if at, err = unix.Seek(int(src.Fd()), data, unix.SEEK_HOLE); err != nil {
			return err
		}
		if _, err := io.Copy(io.NewOffsetWriter(dst, data), io.NewSectionReader(src, data, at-data)); err != nil {
			return err
		}
	}
}

// Used is what the file at path really takes on the host, in bytes.
func Used(path string) (int64, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return st.Blocks * 512, nil
}

// Remove removes a VM's directory with its disk, for good. One that is gone
// already is no error.
func Remove(dir string) error { return os.RemoveAll(dir) }
