package agent

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"banger/internal/agent/command"
)

// Where control groups are. Ours are below banger: the agent's own, and one for
// each command (command.Groups).
const (
	cgroups     = "/sys/fs/cgroup"
	ourCgroup   = cgroups + "/banger"
	agentCgroup = ourCgroup + "/agent"
)

// cgroupOptions are those with which systemd mounts the hierarchy
// (src/shared/mount-setup.c).
const cgroupOptions = "nsdelegate,memory_recursiveprot"

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
	err := mount("cgroup2", cgroups, "cgroup2", flags, cgroupOptions)
	if errors.Is(err, unix.EINVAL) { // a kernel before 5.7 lacks an option
		err = mount("cgroup2", cgroups, "cgroup2", flags, "")
	}
	if err != nil {
		return err
	}
	for _, dir := range []string{ourCgroup, agentCgroup} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	if err := writeCgroup(agentCgroup, "cgroup.procs", "0"); err != nil { // 0 is the writer
		return err
	}
	// A group whose children have controllers can't hold processes itself. A
	// controller that a child has can't be taken away, so systemd leaves this one on.
	for _, dir := range []string{cgroups, ourCgroup} {
		if err := writeCgroup(dir, "cgroup.subtree_control", "+memory"); err != nil {
			return err
		}
	}
	// What a child is promised counts as far as its parent is.
	for _, dir := range []string{ourCgroup, agentCgroup} {
		if err := writeCgroup(dir, "memory.min", strconv.Itoa(agentMemory)); err != nil {
			return err
		}
	}
	return nil
}

func writeCgroup(dir, name, text string) error {
	return os.WriteFile(filepath.Join(dir, name), []byte(text), 0)
}

// openGroups returns where commands get their groups; nil where the kernel or an
// init has none of version 2.
func openGroups() *command.Groups {
	groups, err := command.OpenGroups(ourCgroup)
	if err != nil {
		say("open the control groups: %v", err)
		return nil
	}
	return groups
}
