package kernel

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// unusedAge is how long an initramfs is kept that nothing asked for.
	unusedAge = 7 * 24 * time.Hour
	maxAgent  = 256 << 20 // bytes
)

// fileID says whether a file is still what it was.
type fileID struct {
	path               string
	inode              uint64
	size, mtime, ctime int64
}

// Initrd returns the path of k's initramfs with the agent at agentPath as
// /init, packing it where there is none. It is kept beside k, by the agent's
// hash; those that nothing asked for in a week go when a new one comes. A
// caller opens the file soon or asks again.
func (s *Store) Initrd(ctx context.Context, k Kernel, agentPath string) (string, error) {
	sum, err := s.agentSum(agentPath)
	if err != nil {
		return "", fmt.Errorf("read the agent: %w", err)
	}
	name := filepath.Join(k.Dir, "initrd-"+sum[:16]+".cpio")
	now := time.Now()
	if os.Chtimes(name, now, now) == nil { // it is there, and asked for
		return name, nil
	}
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if err := pack(name, filepath.Join(k.Dir, bootFile), agentPath, sum); err != nil {
		return "", fmt.Errorf("pack %q: %w", name, err)
	}
	prune(k.Dir, now)
	return name, nil
}

func (s *Store) agentSum(path string) (string, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return "", &os.PathError{Op: "stat", Path: path, Err: err}
	}
	id := fileID{path, st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano()}
	s.mu.Lock()
	sum, ok := s.agents[id]
	s.mu.Unlock()
	if ok {
		return sum, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if n, err := io.Copy(h, io.LimitReader(f, maxAgent+1)); err != nil || n > maxAgent {
		return "", errors.Join(err, fmt.Errorf("%q: %d bytes, the most is %d", path, n, maxAgent))
	}
	sum = hex.EncodeToString(h.Sum(nil))
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.agents) // a process has one agent; an old one's is of no use
	s.agents[id] = sum
	return sum, nil
}

// pack writes boot, an archive, and one with the agent behind it: the kernel
// unpacks both (buffer-format.rst: an initramfs is a sequence of archives).
func pack(name, boot, agentPath, sum string) (err error) {
	agent, err := os.ReadFile(agentPath)
	if err != nil {
		return err
	}
	if got := sha256.Sum256(agent); hex.EncodeToString(got[:]) != sum {
		return fmt.Errorf("%q changed while it was read", agentPath)
	}
	modules, err := os.ReadFile(boot)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".initrd-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(modules)
	c := &newc{w: f}
	c.add(newcEntry{name: "init", mode: modeProgram, data: agent})
	if err := errors.Join(err, c.close(), f.Sync(), f.Close()); err != nil {
		return err
	}
	// Another packer's stays: a VMM that is starting may open that file and no other.
	err = unix.Renameat2(unix.AT_FDCWD, f.Name(), unix.AT_FDCWD, name, unix.RENAME_NOREPLACE)
	switch {
	case errors.Is(err, unix.EEXIST):
		return nil
	case errors.Is(err, unix.EINVAL): // a file system that can't
		return os.Rename(f.Name(), name)
	case err != nil:
		return &os.LinkError{Op: "rename", Old: f.Name(), New: name, Err: err}
	}
	return nil
}

// prune removes what was not asked for in a while, and what killed packers
// left.
func prune(dir string, now time.Time) {
	old, _ := filepath.Glob(filepath.Join(dir, initrdGlob))
	cut, _ := filepath.Glob(filepath.Join(dir, ".initrd-*"))
	for _, o := range slices.Concat(old, cut) {
		if fi, err := os.Stat(o); err == nil && now.Sub(fi.ModTime()) > unusedAge {
			os.Remove(o)
		}
	}
}
