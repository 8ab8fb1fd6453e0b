package agent

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/channel/control"
)

// rebootSignal asks systemd to reboot: SIGRTMIN+5 (systemd(1)); SIGRTMIN is 34
// as glibc and systemd count.
const rebootSignal = unix.Signal(34 + 5)

// askAgain is how long systemd has to act on rebootSignal before it is sent
// again. A second one changes nothing where the first arrived.
const askAgain = 500 * time.Millisecond

// initKind is "systemd", "other", or "agent" where PID 1 is ours.
func (a *agent) initKind() string {
	comm, _ := os.ReadFile("/proc/1/comm")
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.init == "":
		return "agent"
	case strings.TrimSpace(string(comm)) == "systemd":
		return "systemd"
	}
	return "other"
}

// End ends the guest by a reset, which ends the VMM: by way of its init where
// that does it in time, by force where not. It goes on when the host is gone.
func (a *agent) End(e control.End, each func(control.EndEvent)) error {
	a.mu.Lock()
	again := a.ending
	a.ending = true
	if a.held { // the init has not begun, and need not
		a.init = ""
		a.handOver()
	}
	a.mu.Unlock()
	if again {
		return errors.New("the guest is ending already")
	}
	limit := newEndLimit(e, readWork, func() { each(control.EndEvent{Stage: "works"}) })
	if h, err := openKeeper(); err == nil {
		stopKeeper(h) // else a shutdown that ends all processes would see new ones
		h.Close()
	}
	switch a.initKind() {
	case "systemd":
		unix.Kill(1, rebootSignal)
		each(control.EndEvent{Stage: "asked"})
		// Systemd resets the machine before the limit. It may have to be asked
		// again: the kernel drops what is sent to PID 1 before it has said that
		// it wants the signal, and a guest may be stopped as soon as it booted.
		for !limit.over() {
			time.Sleep(min(askAgain, limit.left()))
			unix.Kill(1, rebootSignal)
		}
		each(control.EndEvent{Stage: "forced"})
	case "other":
		// BusyBox's init reboots on SIGTERM, sysvinit does not; both leave the
		// services to the signal that everybody gets.
		unix.Kill(1, unix.SIGTERM)
		each(control.EndEvent{Stage: "asked"})
		if !endAll(limit) {
			each(control.EndEvent{Stage: "forced"})
		}
	default:
		each(control.EndEvent{Stage: "asked"})
		if !endAll(limit) {
			each(control.EndEvent{Stage: "forced"})
		}
	}
	unix.Sync()
	// Read-only, all of them: the data disk is not to be found by a path any
	// more (Documentation/admin-guide/sysrq.rst, "u").
	os.WriteFile("/proc/sysrq-trigger", []byte("u"), 0)
	each(control.EndEvent{Stage: "synced"})
	unix.Sync()
	return unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}

// endAll tells every process to end, and reports whether all did before limit is over;
// the rest is killed.
func endAll(limit *endLimit) bool {
	unix.Kill(-1, unix.SIGTERM) // not PID 1 and not the caller
	for !limit.over() {
		if others() == 0 {
			return true
		}
		time.Sleep(50 * time.Millisecond) // nobody tells of the end of others' children
	}
	unix.Kill(-1, unix.SIGKILL)
	return false
}

// others counts processes of user space that are neither PID 1 nor this one.
func others() int {
	n := 0
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(d))
		cmd, err := os.ReadFile(d + "/cmdline")
		if err == nil && len(cmd) > 0 && pid != 1 && pid != os.Getpid() { // a kernel thread has none
			n++
		}
	}
	return n
}
