package firecracker

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"banger/internal/vmm"
)

// workDir is a VMM's working directory, with all that it opens by name. It
// holds the run directory: nobody else makes one there as long as it lasts.
type workDir struct {
	path string
	run  *os.File // locked
}

// makeDir makes the working directory of s, in the place of what a VMM that is
// gone has left.
func makeDir(s vmm.Spec) (_ *workDir, err error) {
	run, err := os.Open(s.RunDir)
	if err != nil {
		return nil, err
	}
	w := &workDir{path: filepath.Join(s.RunDir, Name), run: run}
	if err := unix.Flock(int(run.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		run.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %q: another machine runs there", s.RunDir)
		}
		return nil, fmt.Errorf("lock %q: %w", s.RunDir, err)
	}
	defer func() {
		if err != nil {
			w.remove()
		}
	}()
	if err := os.RemoveAll(w.path); err != nil {
		return nil, err
	}
	if err := os.Mkdir(w.path, 0o700); err != nil {
		return nil, err
	}
	for what, path := range map[string]string{"kernel": s.Kernel, "initrd": s.Initrd} {
		if err := checkReadable(path); err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
	}
	links := map[string]string{fileKernel: s.Kernel, fileInitrd: s.Initrd}
	for i, d := range s.Disks {
		links[diskName(i)] = d.Path
	}
	for name, to := range links {
		if err := os.Symlink(to, w.file(name)); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// checkReadable says of a file by its real name what Firecracker would say by
// that in its working directory.
func checkReadable(path string) error {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return errors.Join(err, fmt.Errorf("%q is no file", path))
	}
	return nil
}

func (w *workDir) file(name string) string { return filepath.Join(w.path, name) }

// remove removes the directory and lets go of the run directory.
func (w *workDir) remove() error { return errors.Join(os.RemoveAll(w.path), w.run.Close()) }
