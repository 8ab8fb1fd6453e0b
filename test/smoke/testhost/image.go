package testhost

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/builder"
	"banger/internal/debian"
	"banger/internal/kernel"
	"banger/internal/progress"
	"banger/internal/vmm/qemu"
)

// Files of an image.
const (
	rootFile   = "root.ext4"
	kernelFile = "vmlinuz"
	initrdFile = "initrd"
)

const (
	noteFile = "tmpdir"       // names a build's temporary directory, see debian.Request
	treeMiB  = 2500           // of the unpacked tree with its packages
	maxBoot  = int64(1 << 28) // bytes of a kernel or an initrd
)

// CacheDir is where images of test hosts are kept: one at a time.
func CacheDir() (string, error) {
	dir, err := os.UserCacheDir()
	return filepath.Join(dir, "banger", "test-host"), err
}

// Image returns the directory of the test host's image, and makes the image
// where it is missing: that takes some minutes, the network, and no root. bin is where
// banger's programs are, whose guest writes the file system. A
// build that is cut leaves nothing that counts; images of older recipes go
// when a new one is there. Several callers at once share one build.
func Image(ctx context.Context, bin string, say func(format string, args ...any)) (string, error) {
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, recipe())
	if err := os.MkdirAll(cache, 0o700); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(cache, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		say("waiting for another build of the test host's image")
		if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
			return "", err
		}
	}
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	tmp := filepath.Join(cache, "tmp")
	if err := errors.Join(debian.Sweep(filepath.Join(tmp, noteFile)), os.RemoveAll(tmp), os.Mkdir(tmp, 0o700)); err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	begin := time.Now()
	if err := build(ctx, tmp, bin, say); err != nil {
		return "", fmt.Errorf("build the test host's image: %w", err)
	}
	if err := os.Rename(tmp, dir); err != nil {
		return "", err
	}
	say("the test host's image is built (%.0f s)", time.Since(begin).Seconds())
	old, err := os.ReadDir(cache)
	for _, o := range old {
		if o.IsDir() && o.Name() != recipe() {
			err = errors.Join(err, os.RemoveAll(filepath.Join(cache, o.Name())))
		}
	}
	return dir, err
}

func build(ctx context.Context, dir, bin string, say func(string, ...any)) error {
	tree, err := os.CreateTemp(dir, "tree-*")
	if err != nil {
		return err
	}
	defer tree.Close()
	defer os.Remove(tree.Name())
	step := func(s progress.Step) { say("test host's image: %s", s.Text) }
	err = debian.Tar(ctx, debian.Request{
		Variant: "apt", Include: packages, Hooks: []string{adapt}, SpaceMiB: treeMiB, Note: filepath.Join(dir, noteFile), Step: step,
	}, func(r io.Reader) error {
		_, err := io.Copy(tree, r)
		return err
	})
	if err != nil {
		return err
	}
	if _, err := tree.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := takeBoot(tar.NewReader(tree), dir); err != nil {
		return err
	}
	if _, err := tree.Seek(0, io.SeekStart); err != nil {
		return err
	}
	root := filepath.Join(dir, rootFile)
	if err := write(ctx, tree, root, dir, bin, step); err != nil {
		return err
	}
	return grow(ctx, root)
}

// write writes the tree's file system in a builder's guest.
func write(ctx context.Context, tree *os.File, root, dir, bin string, step progress.Func) error {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return err
	}
	cache, err := CacheDir()
	if err != nil {
		return err
	}
	kernels, err := kernel.Open(filepath.Join(filepath.Dir(cache), "kernels"))
	if err != nil {
		return err
	}
	k, err := kernels.Ensure(ctx, kernel.Default, step)
	if err != nil {
		return err
	}
	b := builder.Boot{Driver: qemu.New(qemu.Config{Launcher: filepath.Join(bin, "bangerd")}), Kernel: k.Vmlinux}
	if b.Initrd, err = kernels.Initrd(ctx, k, filepath.Join(bin, "banger-agent")); err != nil {
		return err
	}
	b.Found = b.Driver.Probe(ctx)
	machine := filepath.Join(dir, "machine")
	if err := os.Mkdir(machine, 0o700); err != nil {
		return err
	}
	defer os.RemoveAll(machine)
	step(progress.Step{Text: "writing the file system"})
	_, err = builder.Write(ctx, b, tree, root, machine, func(int64, int64) {})
	return err
}

// takeBoot copies kernel and initrd out of the tree.
func takeBoot(in *tar.Reader, dir string) error {
	found := map[string]bool{}
	for {
		h, err := in.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		name := ""
		switch base := strings.TrimPrefix(h.Name, "./boot/"); {
		case strings.HasPrefix(base, "vmlinuz-"):
			name = kernelFile
		case strings.HasPrefix(base, "initrd.img-"):
			name = initrdFile
		default:
			continue
		}
		out, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(out, io.LimitReader(in, maxBoot))
		if err := errors.Join(err, out.Close()); err != nil {
			return err
		}
		found[name] = true
	}
	if len(found) < 2 {
		return fmt.Errorf("the tree's /boot lacks a kernel or an initrd: %v", found)
	}
	return nil
}

// grow makes the file system one of rootMiB.
func grow(ctx context.Context, path string) error {
	for _, args := range [][]string{{"e2fsck", "-fp", path}, {"resize2fs", path, fmt.Sprintf("%dM", rootMiB)}} {
		program, err := tool(args[0])
		if err != nil {
			return err
		}
		if out, err := exec.CommandContext(ctx, program, args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w\n%s", args, err, out)
		}
	}
	return nil
}

// tool finds a program of the administrator, which not every user's PATH has.
func tool(name string) (string, error) {
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if p := filepath.Join(dir, name); unix.Access(p, unix.X_OK) == nil {
			return p, nil
		}
	}
	p, err := exec.LookPath(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("find %s: it is not installed; scripts/setup test installs it", name)
	}
	return p, err
}
