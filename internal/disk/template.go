package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"banger/internal/durable"
	"banger/internal/hint"
	"banger/internal/vm"
)

// templateFormat is in a template's name: raise it when the options change,
// and new disks are made from new templates.
const templateFormat = 1

// openTemplate opens the empty disk of sizeMiB, making it first where it is
// missing.
func openTemplate(ctx context.Context, sizeMiB int64, dir string) (*os.File, error) {
	if sizeMiB < vm.MinDiskMiB || sizeMiB > vm.MaxDiskMiB {
		return nil, fmt.Errorf("make a disk of %d MiB: not between %d and %d", sizeMiB, vm.MinDiskMiB, vm.MaxDiskMiB)
	}
	name := filepath.Join(dir, fmt.Sprintf("empty-v%d-%d.ext4", templateFormat, sizeMiB))
	f, err := openWhole(name, sizeMiB)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	// Held for as long as mke2fs takes: a fraction of a second.
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return nil, fmt.Errorf("lock %q: %w", lock.Name(), err)
	}
	if f, err = openWhole(name, sizeMiB); !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	// One name for the half-made: a killed maker's is overwritten, not kept.
	tmp := filepath.Join(dir, ".making.ext4")
	defer os.Remove(tmp)
	if err := format(ctx, tmp, sizeMiB); err != nil {
		return nil, err
	}
	if err := os.Rename(tmp, name); err != nil {
		return nil, err
	}
	if err := durable.SyncDir(dir); err != nil {
		return nil, err
	}
	return openWhole(name, sizeMiB)
}

// openWhole opens a template that has the size it should have; another one is
// as good as none.
func openWhole(name string, sizeMiB int64) (*os.File, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil && fi.Size() != sizeMiB<<20 {
		err = fs.ErrNotExist
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// format makes an empty ext4 in a new sparse file and syncs it.
func format(ctx context.Context, path string, sizeMiB int64) error {
	mke2fs, err := findTool("mke2fs")
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(sizeMiB << 20); err != nil {
		return fmt.Errorf("make a disk of %s: %w", vm.FormatMiB(sizeMiB), err)
	}
	// The file reads as zeroes, so nothing has to be zeroed: neither now nor,
	// since assume_storage_prezeroed (e2fsprogs 1.47) also marks the inode
	// tables as done, by the guest's kernel later. Without that option the
	// agent's noinit_itable keeps the guest from it.
	if err := runFormat(ctx, mke2fs, path, sizeMiB, ",assume_storage_prezeroed=1"); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := runFormat(ctx, mke2fs, path, sizeMiB, ""); err != nil {
			return err
		}
	}
	return f.Sync()
}

// features are named in full, so that a host's mke2fs.conf does not decide
// what the guest's kernel has to understand.
const features = "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg," +
	"sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum"

// growBlocks is how far, in blocks of 4 KiB, a disk can grow with its group
// descriptors in one place; beyond it the kernel spreads them (meta_bg). Each
// 8 GiB of it costs a block that is really written: mke2fs's own default, 1024
// times the size, would be most of a new disk's 4 MiB.
const growBlocks = 1 << 28 // 1 TiB

func runFormat(ctx context.Context, mke2fs, path string, sizeMiB int64, extra string) error {
	if sizeMiB < growBlocks/256/2 {
		extra += fmt.Sprintf(",resize=%d", growBlocks)
	}
	cmd := exec.CommandContext(ctx, mke2fs, "-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-i", "16384", "-m", "0",
		"-O", features, "-J", fmt.Sprintf("size=%d", journalMiB(sizeMiB)),
		"-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0"+extra, path)
	cmd.Env = []string{"LC_ALL=C", "MKE2FS_CONFIG=/dev/null", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		text := strings.TrimSpace(stderr.String())
		err = fmt.Errorf("make a file system with %s: %w: %.500s", mke2fs, err, text)
		if strings.Contains(text, "No space left") {
			err = fmt.Errorf("%w: %w", unix.ENOSPC, err)
		}
		return err
	}
	return nil
}

// journalMiB keeps the journal small: what it has once held stays allocated on
// the host.
func journalMiB(sizeMiB int64) int64 {
	switch {
	case sizeMiB >= 2048:
		return 32
	case sizeMiB >= 256:
		return 8
	}
	return 4
}

// findTool finds a program of e2fsprogs, which an ordinary user's PATH often
// lacks.
func findTool(name string) (string, error) {
	if p, err := exec.LookPath(name); err == nil {
		return filepath.Abs(p)
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		if p, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return p, nil
		}
	}
	return "", hint.Missing(fmt.Errorf("find %s: it is neither in PATH nor in /usr/sbin or /sbin", name), "install the package e2fsprogs (Debian: sudo apt-get install e2fsprogs)")
}
