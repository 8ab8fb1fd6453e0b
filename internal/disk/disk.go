// Package disk makes VMs' disks, measures them, and holds the trash that
// deleted VMs go to.
//
// A disk is a sparse file of zeroes, so that making one takes milliseconds and costs what
// the guest writes. The host never mounts or probes it. Remove is the one function
// of the program that removes a VM's directory for good.
package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"banger/internal/durable"
	"banger/internal/hint"
	"banger/internal/rootdisk"
	"banger/internal/vm"
)

// Create makes the disk of a VM whose root is of sizeMiB at path, mode 0600, which must
// not exist, and returns when it would survive a crash: the file is synced, and so
// are its directory and that one's parent, because the directory is often new. An error
// leaves nothing at path. A full disk is ENOSPC or EDQUOT. Package rootdisk says what
// lies in the file.
func Create(ctx context.Context, path string, sizeMiB int64) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	if sizeMiB < vm.MinDiskMiB || sizeMiB > vm.MaxDiskMiB {
		return fmt.Errorf("make a disk of %d MiB: not between %d and %d", sizeMiB, vm.MinDiskMiB, vm.MaxDiskMiB)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return explain(err, filepath.Dir(path))
	}
	defer func() {
		if err != nil {
			os.Remove(path)
		}
	}()
	err = layOut(f, rootdisk.Of(sizeMiB<<20))
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return explain(fmt.Errorf("make a disk of %s: %w", vm.FormatMiB(sizeMiB), err), filepath.Dir(path))
	}
	if err := durable.SyncDir(filepath.Dir(path)); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(filepath.Dir(path)))
}

// layOut gives a file the size of a disk, and room for its pool's metadata: that must
// never fail for want of room on the host.
func layOut(f *os.File, l rootdisk.Layout) error {
	if err := f.Truncate(l.FileBytes); err != nil {
		return err
	}
	err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, rootdisk.MetadataAt, l.MetadataBytes)
	if errors.Is(err, unix.EOPNOTSUPP) { // then zeroes are the room, but where the file system leaves them out
		_, err = io.CopyN(io.NewOffsetWriter(f, rootdisk.MetadataAt), zeros{}, l.MetadataBytes)
	}
	return err
}

// Grow makes the disk at path one for a root of sizeMiB. It may be in use: what is there
// stays where it is. An error may leave a larger file, which a repeat takes.
func Grow(path string, sizeMiB int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	l := rootdisk.Of(sizeMiB << 20)
	if _, err := rootdisk.OfFile(fi.Size()); err != nil || l.FileBytes < fi.Size() {
		return errors.Join(fmt.Errorf("the file has %d bytes and would have %d", fi.Size(), l.FileBytes), err)
	}
	if err := layOut(f, l); err != nil {
		return explain(err, filepath.Dir(path))
	}
	return f.Sync()
}

// zeros never ends.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// Used is how many bytes of the host's disk the file or directory tree at path
// takes, holes not counted. What vanishes meanwhile counts nothing, and a file with
// several names once.
func Used(path string) (int64, error) { return UsedOnce(path, map[File]bool{}) }

// File is a file of the host's, whatever its names are.
type File struct{ Dev, Ino uint64 }

// UsedOnce is Used without the files in seen. It adds those that it counts.
func UsedOnce(path string, seen map[File]bool) (int64, error) {
	var sum int64
	err := filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
		if err == nil {
			var fi fs.FileInfo
			if fi, err = d.Info(); err == nil {
				st := fi.Sys().(*syscall.Stat_t)
				if f := (File{uint64(st.Dev), st.Ino}); !seen[f] {
					seen[f] = true
					sum += st.Blocks * 512 // st_blocks' unit, whatever st_blksize says
				}
			}
		}
		if errors.Is(err, fs.ErrNotExist) && name != path {
			return nil
		}
		return err
	})
	return sum, err
}

// Remove removes dir, the directory of a VM, its disk with it, for good. dir
// must lie directly below root, the directory of all VMs or the trash; any other
// one is refused. A directory that is gone is no error. After an error a part of
// it may be gone; a repeat goes on. A symbolic link is removed, not followed.
func Remove(root, dir string) error {
	if err := directlyBelow(root, dir); err != nil {
		return fmt.Errorf("remove %q: %w", dir, err)
	}
	return os.RemoveAll(dir)
}

// directlyBelow reports why dir is not an entry of the directory root.
func directlyBelow(root, dir string) error {
	if !filepath.IsAbs(root) || filepath.Clean(root) == "/" {
		return fmt.Errorf("%q can't hold VMs", root)
	}
	if dir != filepath.Clean(dir) || filepath.Dir(dir) != filepath.Clean(root) {
		return fmt.Errorf("it does not lie directly below %q", root)
	}
	return nil
}

// explain adds to a full disk what is left and what to do.
func explain(err error, dir string) error {
	if !isFull(err) {
		return err
	}
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) == nil {
		err = fmt.Errorf("%w (%q has %d MiB free)", err, dir, int64(st.Bavail)*st.Bsize>>20)
	}
	return hint.Add(err, "make room where "+dir+" lies, for example with banger trash empty")
}

func isFull(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}
