package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"banger/internal/agent/command"
)

// Where control groups are. Ours are below banger: the agent's own, and one for
// each command (command.Groups).
const (
	cgroups    = "/sys/fs/cgroup"
	ourGroup   = "banger"
	agentGroup = ourGroup + "/agent"
)

// cgroupOptions are those with which systemd mounts the hierarchy
// (src/shared/mount-setup.c).
var cgroupOptions = []string{"nsdelegate", "memory_recursiveprot"}

// agentMemory is what the kernel does not take from the agent while another process
// has something to give, in bytes: what it may use (serve), and its program.
const agentMemory = 32 << 20

// enterCgroup mounts the control groups before an init does, and moves the agent
// into a group of its own. systemd moves into init.scope what it finds in the root
// group when it starts. A kill for want of memory in that scope makes systemd end
// the whole scope (systemd 252), and the agent with it: a command that takes too
// much memory would cost the guest its agent.
func enterCgroup() error {
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := os.MkdirAll(cgroups, 0o755); err != nil {
		return err
	}
	err := mount("cgroup2", cgroups, "cgroup2", flags, strings.Join(cgroupOptions, ","))
	if errors.Is(err, unix.EINVAL) { // a kernel before 5.7 lacks an option
		err = mount("cgroup2", cgroups, "cgroup2", flags, "")
	}
	if err != nil {
		return err
	}
	ours, agents := filepath.Join(cgroups, ourGroup), filepath.Join(cgroups, agentGroup)
	for _, dir := range []string{ours, agents} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	if err := writeCgroup(agents, "cgroup.procs", "0"); err != nil { // 0 is the writer
		return err
	}
	// A group whose children have controllers can't hold processes itself. A
	// controller that a child has can't be taken away, so systemd leaves this one on.
	for _, dir := range []string{cgroups, ours} {
		if err := writeCgroup(dir, "cgroup.subtree_control", "+memory"); err != nil {
			return err
		}
	}
	// What a child is promised counts as far as its parent is.
	for _, dir := range []string{ours, agents} {
		if err := writeCgroup(dir, "memory.min", strconv.Itoa(agentMemory)); err != nil {
			return err
		}
	}
	return nil
}

func writeCgroup(dir, name, text string) error {
	return os.WriteFile(filepath.Join(dir, name), []byte(text), 0)
}

// openCgroups opens the hierarchy, whatever an init has mounted over its path. The kernel
// takes the options of each mount for the whole hierarchy.
func openCgroups() (*os.File, error) {
	ctx, err := unix.Fsopen("cgroup2", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open the control groups: %w", err)
	}
	defer unix.Close(ctx)
	for _, o := range cgroupOptions {
		unix.FsconfigSetFlag(ctx, o) // a kernel before 5.7 lacks one
	}
	return mountDetached(ctx, "cgroup2")
}

// mountDetached mounts what ctx is configured for, at no path, and opens its root.
func mountDetached(ctx int, name string) (*os.File, error) {
	if err := unix.FsconfigCreate(ctx); err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	fd, err := unix.Fsmount(ctx, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return nil, fmt.Errorf("mount %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// within is the path of a group of the hierarchy h, for this process.
func within(h *os.File, group string) string {
	return filepath.Join("/proc/self/fd", strconv.Itoa(int(h.Fd())), group)
}

// openAgentGroup opens the agent's own group.
func openAgentGroup() (*os.File, error) {
	h, err := openCgroups()
	if err != nil {
		return nil, err
	}
	defer h.Close()
	return os.Open(within(h, agentGroup))
}

// openGroups returns where commands get their groups; nil if the kernel has none of
// version 2.
func openGroups() *command.Groups {
	h, err := openCgroups()
	if err != nil {
		say("%v", err)
		return nil
	}
	defer h.Close()
	groups, err := command.OpenGroups(within(h, ourGroup))
	if err != nil {
		say("open the control groups: %v", err)
		return nil
	}
	return groups
}
