package agent

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Where control groups are, and the agent's own group below that.
const (
	cgroups   = "/sys/fs/cgroup"
	ownCgroup = "banger"
)

// cgroupOptions are those with which systemd mounts the hierarchy
// (src/shared/mount-setup.c).
const cgroupOptions = "nsdelegate,memory_recursiveprot"

// enterCgroup mounts the control groups before an init does, and moves the agent,
// with all that it will start, into a group of its own. systemd moves into
// init.scope what it finds in the root group when it starts. A kill for want of
// memory in that scope makes systemd end the whole scope (systemd 252), and the
// agent with it: a command that takes too much memory would cost the guest its
// agent.
func enterCgroup() error {
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := os.MkdirAll(cgroups, 0o755); err != nil {
		return err
	}
	err := mount("cgroup2", cgroups, "cgroup2", flags, cgroupOptions)
	if errors.Is(err, unix.EINVAL) { // a kernel before 5.7 lacks an option
		err = mount("cgroup2", cgroups, "cgroup2", flags, "")
	}
	if err != nil {
		return err
	}
	own := filepath.Join(cgroups, ownCgroup)
	if err := os.Mkdir(own, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(own, "cgroup.procs"), []byte("0"), 0) // 0 is the writer
}
