package agent

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/lfs"
)

// A signal to every process spares PID 1 and the kernel. Until systemd has started its
// unit, and with another init for ever, the kernel keeps watch: it calls a program when
// a control group of version 1 has lost its last process
// (Documentation/admin-guide/cgroup-v1/cgroups.rst, 1.4). In that group is the process
// that watches the agent. The hierarchy has no controllers and is mounted nowhere.

// The hierarchy's name, and its one group. The kernel gives the program the group's path.
const (
	keeperName  = "banger"
	keeperGroup = "watch"
	argReleased = "/" + keeperGroup
)

// keeperLimit bounds the removal of the hierarchy.
const keeperLimit = 10 * time.Second

// openKeeper opens the hierarchy, and makes it if there is none. One without groups is
// gone when it is closed.
func openKeeper() (*os.File, error) {
	fs, err := unix.Fsopen("cgroup", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open a hierarchy of control groups: %w", err)
	}
	defer unix.Close(fs)
	err = unix.FsconfigSetFlag(fs, "none")
	for key, value := range map[string]string{"name": keeperName, "release_agent": lfs.Agent} {
		err = errors.Join(err, unix.FsconfigSetString(fs, key, value))
	}
	if err == nil {
		err = unix.FsconfigCreate(fs)
	}
	if err != nil {
		return nil, fmt.Errorf("make a hierarchy of control groups: %w", err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return nil, fmt.Errorf("mount a hierarchy of control groups: %w", err)
	}
	return os.NewFile(uintptr(fd), keeperName), nil
}

// keeperDir is the hierarchy's path, for this process.
func keeperDir(h *os.File) string { return "/proc/self/fd/" + strconv.Itoa(int(h.Fd())) }

// keepEarly starts a process that watches the agent, and has the kernel watch that.
func keepEarly() error {
	h, err := openKeeper()
	if err != nil {
		return err
	}
	defer h.Close()
	group := filepath.Join(keeperDir(h), keeperGroup)
	if err := os.Mkdir(group, 0o755); err != nil {
		return err
	}
	if err := writeCgroup(group, "notify_on_release", "1"); err != nil {
		return err
	}
	// A process begins in its parent's group.
	if err := writeCgroup(group, "cgroup.procs", "0"); err != nil {
		return err
	}
	cmd := exec.Command("/proc/self/exe", argWatch)
	cmd.Args[0], cmd.Dir = programName, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err = cmd.Start(); err == nil {
		go cmd.Wait() // ends with the process
	}
	return errors.Join(err, writeCgroup(keeperDir(h), "cgroup.procs", "0"))
}

// leaveKeeper moves the agent out of the group in which a process that watched its
// predecessor has started it: what the agent starts would keep that group from being empty.
func leaveKeeper() error {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil || !bytes.Contains(text, []byte(":name="+keeperName+":/"+keeperGroup)) {
		return err
	}
	h, err := openKeeper()
	if err != nil {
		return err
	}
	defer h.Close()
	return writeCgroup(keeperDir(h), "cgroup.procs", "0")
}

// released is what the kernel calls once the process that watched the agent is gone. It
// takes its place, unless systemd's unit has.
func released() error {
	unix.Setsid()
	unix.Setpriority(unix.PRIO_PROCESS, 0, -15) // as in the unit
	os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0)
	if err := enterKeeper(); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	if err := writeCgroup(agentCgroup, "cgroup.procs", "0"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		say("enter the agent's control group: %v", err) // one that an init has mounted over is of no use
	}
	return watch()
}

func enterKeeper() error {
	h, err := openKeeper()
	if err != nil {
		return err
	}
	defer h.Close()
	return writeCgroup(filepath.Join(keeperDir(h), keeperGroup), "cgroup.procs", "0")
}

// dropKeeper ends the kernel's watch, and the process that is in its group. The
// hierarchy, which every process has a line of in /proc/PID/cgroup, goes with it.
func dropKeeper() {
	for limit := time.Now().Add(keeperLimit); time.Now().Before(limit); time.Sleep(20 * time.Millisecond) {
		text, err := os.ReadFile("/proc/self/cgroup")
		if err != nil || !bytes.Contains(text, []byte(":name="+keeperName+":")) {
			return
		}
		h, err := openKeeper()
		if err != nil {
			continue // it is going
		}
		group := filepath.Join(keeperDir(h), keeperGroup)
		writeCgroup(group, "notify_on_release", "0")
		text, _ = os.ReadFile(filepath.Join(group, "cgroup.procs"))
		for _, field := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(field); err == nil {
				unix.Kill(pid, unix.SIGKILL)
			}
		}
		os.Remove(group)
		h.Close()
	}
}
