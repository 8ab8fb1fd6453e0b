package agent

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/agent/command"
	"banger/internal/lfs"
)

// Where the initramfs has what boot needs.
const (
	modulesDir  = "/modules"
	modulesList = "/modules/order"
	newRoot     = "/newroot"
)

// Words between PID 1 and the agent, a line each.
const (
	wordMove  = "move"  // agent: the root is joined at newRoot
	wordMoved = "moved" // PID 1: it is / now
	wordHold  = "hold"  // agent: wait before the init named after it, whose turn comes at the agent's end too
	wordGo    = "go"    // agent: become the init named after it, or stay
)

// boot is PID 1. It returns only on an error.
func boot() error {
	// The flags are systemd's (src/shared/mount-setup.c), which leaves alone what is mounted.
	for _, m := range []struct {
		source, target, kind string
		flags                uintptr
		data                 string
	}{
		{"proc", "/proc", "proc", unix.MS_NODEV | unix.MS_NOEXEC, ""},
		{"sysfs", "/sys", "sysfs", unix.MS_NODEV | unix.MS_NOEXEC, ""},
		{"dev", "/dev", "devtmpfs", 0, "mode=0755"},
		{"run", "/run", "tmpfs", unix.MS_NODEV, "mode=0755"},
		{"devpts", "/dev/pts", "devpts", unix.MS_NOEXEC, "gid=5,mode=0620,ptmxmode=0666"},
		{"shm", "/dev/shm", "tmpfs", unix.MS_NODEV, "mode=1777"},
	} {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return err
		}
		if err := mount(m.source, m.target, m.kind, unix.MS_NOSUID|m.flags, m.data); err != nil {
			return err
		}
	}
	// Udev makes them, later: the first command can be here before.
	for name, to := range map[string]string{"fd": "fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"} {
		if err := os.Symlink("/proc/self/"+to, "/dev/"+name); err != nil {
			return err
		}
	}
	if err := showProgram(); err != nil {
		say("%v", err) // a guest without it is of use
	}
	if err := loadModules(); err != nil {
		return err
	}
	if err := limitFiles(); err != nil {
		say("limit open files: %v", err)
	}
	words, agent, err := startAgent()
	if err != nil {
		return err
	}
	return followAgent(words, agent)
}

// showProgram binds this program to the path at which processes of the guest start it,
// every user's: the initramfs is out of reach once the root has moved. /run moves with
// it, and what is bound needs no memory.
func showProgram() error {
	if err := os.MkdirAll(filepath.Dir(lfs.Agent), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(lfs.Agent, nil, 0o755); err != nil {
		return err
	}
	if err := mount("/proc/self/exe", lfs.Agent, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	return mount("", lfs.Agent, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID, "")
}

func mount(source, target, kind string, flags uintptr, data string) error {
	if err := unix.Mount(source, target, kind, flags, data); err != nil {
		return fmt.Errorf("mount %s (%s) on %s: %w", source, kind, target, err)
	}
	return nil
}

// loadModules loads what the kernel has not built in, in the order that the
// initramfs's maker wrote down. One that this machine has no use for may fail.
func loadModules() error {
	f, err := os.Open(modulesList)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		name := filepath.Join(modulesDir, filepath.Base(lines.Text()))
		m, err := os.Open(name)
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(m.Fd()), "", 0)
		m.Close()
		if err != nil && !errors.Is(err, unix.EEXIST) {
			say("load %s: %v", filepath.Base(name), err)
		}
	}
	// They are in the kernel now; the initramfs is memory.
	os.RemoveAll(modulesDir)
	return lines.Err()
}

// agentEnv is the agent's environment. Without transparent huge pages its heap, of a few
// MiB, takes what it uses, and not 2 MiB for each beginning.
var agentEnv = []string{"PATH=" + command.DefaultPath, "GODEBUG=disablethp=1"}

// startAgent starts the long-lived agent with one end of a socket pair as its
// descriptor 3, and returns the other, and the agent's pid.
func startAgent() (words *os.File, pid int, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, 0, err
	}
	theirs := os.NewFile(uintptr(fds[1]), "agent")
	defer theirs.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{Name}
	cmd.Env = agentEnv
	cmd.Stdin, cmd.Stdout, cmd.Stderr = nil, os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, 0, fmt.Errorf("start the agent: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "words"), cmd.Process.Pid, nil
}

// followAgent does what the agent says; its end without a word is an error.
func followAgent(words *os.File, agent int) error {
	lines := bufio.NewScanner(words)
	held := ""
	for lines.Scan() {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		switch word {
		case wordMove:
			if err := moveRoot(); err != nil {
				return err
			}
			if _, err := io.WriteString(words, wordMoved+"\n"); err != nil {
				return err
			}
		case wordHold:
			held = rest
		case wordGo:
			if rest == "" {
				return reap(agent)
			}
			words.Close()
			return becomeInit(rest)
		}
	}
	if held != "" {
		return becomeInit(held)
	}
	return errors.New("the agent is gone before the guest was up")
}

func becomeInit(path string) error {
	say("root joined, starting %s", path)
	err := syscall.Exec(path, []string{path}, []string{"PATH=" + command.DefaultPath, "HOME=/", "TERM=linux"})
	return fmt.Errorf("execute %s: %w", path, err)
}

// moveRoot makes newRoot the root of the mount namespace and of this process
// (what switch_root(8) does).
func moveRoot() error {
	for _, d := range []string{"/dev", "/proc", "/sys", "/run"} {
		if err := unix.Mount(d, newRoot+d, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move %s: %w", d, err)
		}
	}
	if err := os.Chdir(newRoot); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the root: %w", err)
	}
	return enterRoot()
}

// enterRoot makes the working directory this process's root.
func enterRoot() error {
	if err := unix.Chroot("."); err != nil {
		return err
	}
	return os.Chdir("/")
}

// reap stays PID 1 of a guest without an init, and starts the agent again at its
// end.
func reap(agent int) error {
	say("root joined, no init is started")
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, 0, nil)
		switch {
		case errors.Is(err, unix.ECHILD):
			return errors.New("the agent is gone")
		case pid == agent:
			time.Sleep(restartPause) // one that can't run ends at once
			lock, err := lockAgent()
			if err != nil {
				return err
			}
			cmd, err := startAgain(lock)
			lock.Close()
			if err != nil {
				return err
			}
			agent = cmd.Process.Pid
		}
	}
}

// reset ends the guest, and with it the VMM.
func reset() {
	unix.Sync()
	unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}
