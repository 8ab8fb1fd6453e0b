package debian

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/hint"
)

const (
	tempPrefix  = "banger-debian-"
	removeLimit = time.Minute
)

// tempDir makes the directory that mmdebstrap's own goes into. The namespace's
// root is another uid and has to get there, so it can't lie under a home
// directory; and it is large, so /var/tmp is better than a /tmp in memory.
func tempDir(spaceMiB int64) (string, error) {
	base := os.Getenv("TMPDIR")
	if base == "" {
		base = "/var/tmp"
		if fi, err := os.Stat(base); err != nil || !fi.IsDir() {
			base = "/tmp"
		}
	}
	base, err := filepath.Abs(base)
	if err != nil {
		return "", err
	}
	for at := base; ; at = filepath.Dir(at) {
		fi, err := os.Stat(at)
		if err != nil {
			return "", hint.Add(fmt.Errorf("find a place for temporary files: %w", err), "set TMPDIR to a directory that is there")
		}
		if fi.Mode().Perm()&1 == 0 && os.Getuid() != 0 {
			return "", hint.Add(fmt.Errorf("unpack packages in %q: other users can't pass %q, and the packages' root is another user", base, at),
				"set TMPDIR to a directory that everybody can enter, such as /var/tmp")
		}
		if at == filepath.Dir(at) {
			break
		}
	}
	if free, ok := freeMiB(base); ok && free < spaceMiB {
		return "", full(base, spaceMiB, unix.ENOSPC)
	}
	dir, err := os.MkdirTemp(base, tempPrefix)
	if err != nil {
		return "", hint.Add(fmt.Errorf("make a temporary directory: %w", err), "set TMPDIR to a directory with room")
	}
	// Passable, not readable.
	if err := os.Chmod(dir, 0o711); err != nil {
		return "", errors.Join(err, os.Remove(dir))
	}
	return dir, nil
}

func freeMiB(dir string) (int64, bool) {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return 0, false
	}
	return int64(st.Bavail) * st.Bsize >> 20, true
}

func full(dir string, needMiB int64, err error) error {
	free, _ := freeMiB(dir)
	return hint.Add(fmt.Errorf("unpack packages in %q, which has %d MiB free and needs about %d: %w", dir, free, needMiB, err),
		"make room there, or set TMPDIR to a directory with more")
}

// Sweep removes the temporary directory that note names, and the note. No note
// is no error.
func Sweep(note string) error {
	text, err := os.ReadFile(note)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	// The note is ours, but a wrong one must not cost anybody's files.
	if dir := string(text); filepath.IsAbs(dir) && strings.HasPrefix(filepath.Base(dir), tempPrefix) {
		if err := removeTree(dir); err != nil {
			return err
		}
	}
	return os.Remove(note)
}

// removeTree removes a directory whose contents belong to subordinate ids: the
// namespace's root empties what is in it, its owner takes away the rest.
func removeTree(dir string) error {
	if os.RemoveAll(dir) == nil {
		return nil
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return err
	}
	path, err := exec.LookPath(program)
	if err != nil {
		return err
	}
	// The call that made the tree may have been given up; this has a limit of
	// its own.
	ctx, cancel := context.WithTimeout(context.Background(), removeLimit)
	defer cancel()
	args := append([]string{"--unshare-helper", "find"}, left...)
	cmd := exec.CommandContext(ctx, path, append(args, "-xdev", "-mindepth", "1", "-delete")...)
	cmd.Env = environment(dir)
	out, err := cmd.CombinedOutput()
	if rerr := os.RemoveAll(dir); rerr != nil {
		return fmt.Errorf("remove %q: %w", dir, errors.Join(rerr, err, fmt.Errorf("%.300q", out)))
	}
	return nil
}
