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

	"banger/internal/debian"
	"banger/internal/ext4"
	"banger/internal/progress"
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
// where it is missing: that takes a minute or two, the network, and no root. A
// build that is cut leaves nothing that counts; images of older recipes go
// when a new one is there. Several callers at once share one build.
func Image(ctx context.Context, say func(format string, args ...any)) (string, error) {
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
	if err := build(ctx, tmp, say); err != nil {
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

func build(ctx context.Context, dir string, say func(string, ...any)) error {
	root := filepath.Join(dir, rootFile)
	f, err := os.OpenFile(root, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	err = debian.Tar(ctx, debian.Request{
		Variant: "apt", Include: packages, Hooks: []string{adapt}, SpaceMiB: treeMiB, Note: filepath.Join(dir, noteFile),
		Step: func(s progress.Step) { say("test host's image: %s", s.Text) },
	}, func(r io.Reader) error { return unpack(ctx, r, f, dir) })
	if err != nil {
		return err
	}
	return makeWritable(ctx, root)
}

// unpack writes the tree to f as a file system, and beside it what boots it.
func unpack(ctx context.Context, r io.Reader, f *os.File, dir string) error {
	pr, pw := io.Pipe()
	done := make(chan error, 1)
	go func() { // ends with the pipe, which is closed below
		err := takeBoot(tar.NewReader(pr), dir)
		io.Copy(io.Discard, pr)
		done <- err
	}()
	_, err := ext4.Write(ctx, io.TeeReader(r, pw), f)
	pw.CloseWithError(err) // nil is EOF
	return errors.Join(err, <-done)
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

// makeWritable turns the writer's output, which has neither a journal nor a
// free block, into a root file system of rootMiB.
func makeWritable(ctx context.Context, path string) error {
	for _, args := range [][]string{
		{"tune2fs", "-O", "^read-only", path},
		{"e2fsck", "-fy", path},
		{"resize2fs", path, fmt.Sprintf("%dM", rootMiB)},
		{"tune2fs", "-j", path},
	} {
		program, err := tool(args[0])
		if err != nil {
			return err
		}
		out, err := exec.CommandContext(ctx, program, args[1:]...).CombinedOutput()
		var exit *exec.ExitError
		if errors.As(err, &exit) && args[0] == "e2fsck" && exit.ExitCode() == 1 {
			continue // errors, corrected (e2fsck(8))
		}
		if err != nil {
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
