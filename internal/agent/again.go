package agent

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/channel/control"
	"banger/internal/lfs"
)

// A signal to every process (kill -9 -1) ends the agent too. Where the image's init
// is systemd, a unit of ours starts it again: systemd keeps a process of the agent's
// program that waits for the agent's end (watch). Where PID 1 is ours, that does. The
// kernel keeps such a process with another init, and until systemd has come to the unit
// (released.go).

// Arguments of the agent's program.
const (
	argAgain = "again" // the agent, in a guest that one has brought up
	argWatch = "watch" // wait for the agent's end and start it again
	argUnit  = "unit"  // after argWatch: as systemd's unit, for good
)

// agentLock is locked for as long as the agent lives, by its descriptor lockFD.
const (
	agentLock = "/run/banger/agent.lock"
	lockFD    = 3
)

// restartPause is from one start of the agent to the next, at least.
const restartPause = time.Second

// The unit, and the directory by which systemd starts it with everything else.
const (
	unitName = "banger-agent.service"
	unitDir  = "run/systemd/system"
	unitWant = unitDir + "/sysinit.target.wants"
)

// unit is what systemd keeps running. Nothing that ends units, a shutdown
// included, ends it before systemd ends all processes, and its own end takes
// nothing along. The agent that it starts is in no unit (agentGroup). It goes before
// all that is started again with it.
const unit = `[Unit]
Description=Start banger's agent again if it was killed
DefaultDependencies=no
IgnoreOnIsolate=yes
StartLimitIntervalSec=0

[Service]
ExecStart=%s %s %s
Restart=always
RestartSec=20ms
Nice=-15
KillMode=process
OOMScoreAdjust=-1000
`

// mountConf keeps systemd from unmounting the agent's program and its network's namespace
// when a shutdown begins: they are in use. They are unmounted in the end, with all that is
// left. The name of a mount's unit is its path, escaped as systemd-escape(1) does.
const mountConf = "[Unit]\nDefaultDependencies=no\n"

var mountConfDirs = []string{unitDir + `/run-banger-banger\x2dagent.mount.d`, unitDir + `/run-banger-network.mount.d`}

// keepAgent writes the unit below root if its init is systemd. It has to be there
// when systemd begins.
func keepAgent(root, init string) error {
	path, err := filepath.EvalSymlinks(filepath.Join(root, init))
	if err != nil || filepath.Base(path) != "systemd" {
		return nil
	}
	if err := os.MkdirAll(filepath.Join(root, unitWant), 0o755); err != nil {
		return err
	}
	for _, dir := range mountConfDirs {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(root, dir, "banger.conf"), []byte(mountConf), 0o644); err != nil {
			return err
		}
	}
	text := fmt.Sprintf(unit, lfs.Agent, argWatch, argUnit)
	if err := os.WriteFile(filepath.Join(root, unitDir, unitName), []byte(text), 0o644); err != nil {
		return err
	}
	return os.Symlink("../"+unitName, filepath.Join(root, unitWant, unitName))
}

// lockAgent opens the agent's lock and waits until it is free.
func lockAgent() (*os.File, error) {
	lock, err := os.OpenFile(agentLock, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		if err = unix.Flock(int(lock.Fd()), unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("lock %q: %w", agentLock, err)
	}
	return lock, nil
}

// watch starts the agent whenever there is none. It returns only on an error, a while
// after it: systemd starts it again at once.
func watch() error {
	defer func() { time.Sleep(restartPause) }()
	for {
		lock, err := lockAgent()
		if err != nil {
			return err
		}
		cmd, err := startAgain(lock)
		lock.Close() // the agent has it
		if err != nil {
			return err
		}
		go cmd.Wait() // ends with the agent
		time.Sleep(restartPause)
	}
}

// startAgain starts the agent in a guest that another one has brought up, and gives
// it the lock.
func startAgain(lock *os.File) (*exec.Cmd, error) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{Name, argAgain}
	cmd.Dir, cmd.Env = "/", agentEnv
	cmd.ExtraFiles = []*os.File{lock} // lockFD
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if console, err := os.OpenFile("/dev/console", os.O_WRONLY|unix.O_NOCTTY, 0); err == nil {
		defer console.Close()
		cmd.Stdout, cmd.Stderr = console, console
	}
	if group, err := openAgentGroup(); err == nil {
		defer group.Close()
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(group.Fd())
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the agent again: %w", err)
	}
	return cmd, nil
}

// resume makes a of a guest that an agent before it has brought up.
func (a *agent) resume() {
	unix.CloseOnExec(lockFD)
	if err := leaveKeeper(); err != nil {
		say("leave a control group: %v", err)
	}
	if !isOurs(1) {
		a.init = findInit()
	}
	a.exec.Groups = openGroups()
	a.disk.look()
	a.ready = &control.Ready{UptimeMillis: uptimeMillis(), Init: a.init, BootID: bootID(), Again: true}
}

// isOurs reports whether a process runs this program.
func isOurs(pid int) bool {
	self, err := os.Stat("/proc/self/exe")
	if err != nil {
		return false
	}
	other, err := os.Stat(fmt.Sprintf("/proc/%d/exe", pid))
	return err == nil && os.SameFile(self, other)
}
