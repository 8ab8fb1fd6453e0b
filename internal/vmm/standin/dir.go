package standin

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"banger/internal/channel"
	"banger/internal/vmm"
)

// Names in the VMM's working directory.
const (
	fileVsock = "vsock"
	dirBin    = "bin" // the guest's own commands
)

// fileHello is where the host listens for the guest's hello.
var fileHello = fileVsock + "_" + strconv.Itoa(int(channel.PortHello))

// guestDir is what a VM's guest has of the host: its commands start there. It
// stays from run to run, as a disk does.
func guestDir(s vmm.Spec) string { return filepath.Join(s.Dir, "guest") }

// workDir is a VMM's working directory. It holds the run directory: nobody else
// makes one there as long as it lasts.
type workDir struct {
	path, guest string
	run         *os.File // locked
}

// makeDir makes the working directory of s, in the place of what a VMM that is
// gone has left, and the guest's directory.
func makeDir(s vmm.Spec) (_ *workDir, err error) {
	run, err := os.Open(s.RunDir)
	if err != nil {
		return nil, err
	}
	w := &workDir{path: filepath.Join(s.RunDir, Name), guest: guestDir(s), run: run}
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
	for _, d := range []string{w.path, w.guest} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, err
		}
	}
	return w, nil
}

func (w *workDir) file(name string) string { return filepath.Join(w.path, name) }

// remove removes the directory, and the guest's where nothing is in it, and lets
// go of the run directory.
func (w *workDir) remove() error {
	os.Remove(w.guest) // it stays with what the guest wrote
	return errors.Join(os.RemoveAll(w.path), w.run.Close())
}
