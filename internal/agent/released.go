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

// openKeeper opens the hierarchy; fs.ErrNotExist if there is none. One without groups goes
// when it is closed, a moment later.
func openKeeper() (*os.File, error) {
	h, err := mountKeeper(false)
	if errors.Is(err, unix.EINVAL) {
		err = fs.ErrNotExist
	}
	return h, err
}

// mountKeeper is openKeeper, and makes the hierarchy if that is asked for. Without
// controllers, and without the word that there are none, the kernel makes none
// (kernel/cgroup/cgroup-v1.c, cgroup1_root_to_use).
func mountKeeper(create bool) (*os.File, error) {
	ctx, err := unix.Fsopen("cgroup", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open a hierarchy of control groups: %w", err)
	}
	defer unix.Close(ctx)
	err = unix.FsconfigSetString(ctx, "name", keeperName)
	if create {
		err = errors.Join(err, unix.FsconfigSetFlag(ctx, "none"), unix.FsconfigSetString(ctx, "release_agent", lfs.Agent))
	}
	if err != nil {
		return nil, fmt.Errorf("configure a hierarchy of control groups: %w", err)
	}
	return mountDetached(ctx, keeperName)
}

// keepEarly starts a process that watches the agent, and has the kernel watch that.
func keepEarly() error {
	h, err := mountKeeper(true)
	if err != nil {
		return err
	}
	defer h.Close()
	group := within(h, keeperGroup)
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
	return errors.Join(err, writeCgroup(within(h, ""), "cgroup.procs", "0"))
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
	return writeCgroup(within(h, ""), "cgroup.procs", "0")
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
	if h, err := openCgroups(); err == nil {
		writeCgroup(within(h, agentGroup), "cgroup.procs", "0") // one without is watched as well
		h.Close()
	}
	return watch()
}

func enterKeeper() error {
	h, err := openKeeper()
	if err != nil {
		return err
	}
	defer h.Close()
	return writeCgroup(within(h, keeperGroup), "cgroup.procs", "0")
}

// stopKeeper ends the kernel's watch, and the processes that are in its group. It
// returns that group, of h, whose processes may take a moment to be gone.
func stopKeeper(h *os.File) string {
	group := within(h, keeperGroup)
	writeCgroup(group, "notify_on_release", "0")
	text, _ := os.ReadFile(filepath.Join(group, "cgroup.procs"))
	for _, field := range strings.Fields(string(text)) {
		if pid, err := strconv.Atoi(field); err == nil {
			unix.Kill(pid, unix.SIGKILL)
		}
	}
	return group
}

// dropKeeper is stopKeeper, and removes the hierarchy, of which every process has a line
// in /proc/PID/cgroup. The kernel removes it when it is closed after its group is really
// gone, and that is a while after the group's removal.
func dropKeeper() {
	for limit := time.Now().Add(keeperLimit); time.Now().Before(limit); time.Sleep(20 * time.Millisecond) {
		h, err := openKeeper()
		if err != nil {
			return
		}
		os.Remove(stopKeeper(h))
		h.Close()
	}
}
