package agent

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"banger/internal/agent/root"
	"banger/internal/channel/control"
)

// openRoot makes the root's device, and repairs what is on the disk if the user has said
// so. It says on the console what it has done.
func openRoot(repair bool) (control.DiskState, error) {
	done, err := root.Open(diskDev, baseDev, repair)
	if errors.Is(err, root.ErrDamaged) {
		return "", fmt.Errorf("%w (%w)", err, control.ErrDamaged)
	}
	if err != nil {
		return "", err
	}
	state := control.DiskState("")
	switch {
	case done.Repaired:
		state = control.DiskRepaired
		say("the metadata of the VM's disk were damaged, and are made anew; lost: %v", errors.Join(done.Lost...))
	case done.Checked:
		state = control.DiskChecked
		say("a write of the metadata of the VM's disk had failed; they were checked, and are whole")
	}
	if !repair {
		return state, nil
	}
	said, err := repairFiles("/base")
	for line := range strings.Lines(said) {
		say("e2fsck: %s", strings.TrimSpace(line))
	}
	if err != nil {
		return state, fmt.Errorf("repair the root's file system: %w", err)
	}
	return control.DiskRepaired, nil
}

// repairFiles repairs the root's file system with the e2fsck of the image, which it
// mounts at scratch: the image's own file system is sound.
func repairFiles(scratch string) (said string, err error) {
	if err := os.MkdirAll(scratch, 0o755); err != nil {
		return "", err
	}
	undo, err := root.MountImage(baseDev, scratch)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, undo()) }()
	dev := filepath.Join(scratch, "dev")
	if err := mount("/dev", dev, "", unix.MS_BIND, ""); err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, unix.Unmount(dev, 0)) }()
	cmd := exec.Command("/bin/sh", "-c", `command -v e2fsck >/dev/null || exit 127; exec e2fsck -fy "$0"`, root.Path)
	cmd.Env = []string{"PATH=/usr/sbin:/sbin:/usr/bin:/bin"}
	cmd.Dir, cmd.SysProcAttr = "/", &syscall.SysProcAttr{Chroot: scratch}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case errors.Is(err, os.ErrNotExist), errors.As(err, &exit) && exit.ExitCode() == 127:
		return "the image has none: the file system is left as it is", nil
	case errors.As(err, &exit) && exit.ExitCode() > 0 && exit.ExitCode() < 4: // it has mended something (e2fsck(8))
		err = nil
	}
	return string(out), err
}
