package command

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"banger/internal/channel/exec"
)

// activeConsoles names the kernel's consoles; the last one is /dev/console
// (Documentation/ABI/testing/sysfs-tty).
const activeConsoles = "/sys/class/tty/console/active"

// openConsole opens the guest's serial console as a terminal of that size. One that is
// some process's terminal already is left alone.
func openConsole(size exec.Size) (*os.File, error) {
	text, err := os.ReadFile(activeConsoles)
	names := strings.Fields(string(text))
	if err != nil || len(names) == 0 {
		return nil, errors.New("the guest has no serial console")
	}
	path := filepath.Join("/dev", filepath.Base(names[len(names)-1]))
	// Not waiting for a carrier (open(2), O_NONBLOCK), and blocking from then on.
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	var st unix.Stat_t
	err = errors.Join(unix.Fstat(fd, &st), unix.SetNonblock(fd, false))
	if err == nil {
		if pid, name := holder(st.Rdev); pid != 0 {
			err = fmt.Errorf("%s (pid %d) has the console: what you type goes there", name, pid)
		}
	}
	if err == nil {
		err = sane(fd)
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	f := os.NewFile(uintptr(fd), path)
	resize(f, size)
	return f, nil
}

// holder is a process whose controlling terminal is dev.
func holder(dev uint64) (pid int, name string) {
	// tty_nr has the minor number in bits 31 to 20 and 7 to 0 (proc(5)).
	major, minor := unix.Major(dev), unix.Minor(dev)
	number := strconv.FormatInt(int64(int32(minor&0xff|major<<8|minor&^0xff<<12)), 10)
	dirs, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range dirs {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
		if f := bytes.Fields(text[end+1:]); len(f) > 4 && string(f[4]) == number {
			pid, _ = strconv.Atoi(filepath.Base(filepath.Dir(path)))
			return pid, string(text[open+1 : end])
		}
	}
	return 0, ""
}

// sane sets a terminal as a login finds it (stty(1), sane), whatever its last user
// left, and throws away what was typed before.
func sane(fd int) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return fmt.Errorf("set the console: %w", err)
	}
	t.Iflag = unix.BRKINT | unix.ICRNL | unix.IXON | unix.IMAXBEL | unix.IUTF8
	t.Oflag = unix.OPOST | unix.ONLCR
	t.Cflag |= unix.CREAD | unix.CLOCAL // no carrier: a shell is not hung up for want of one
	t.Lflag = unix.ISIG | unix.ICANON | unix.IEXTEN | unix.ECHO | unix.ECHOE | unix.ECHOK | unix.ECHOCTL | unix.ECHOKE
	for i, c := range map[int]uint8{unix.VINTR: 3, unix.VQUIT: 28, unix.VERASE: 127, unix.VKILL: 21, unix.VEOF: 4, unix.VSTART: 17, unix.VSTOP: 19,
		unix.VSUSP: 26, unix.VREPRINT: 18, unix.VWERASE: 23, unix.VLNEXT: 22, unix.VMIN: 1, unix.VTIME: 0} {
		t.Cc[i] = c
	}
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, t); err != nil {
		return fmt.Errorf("set the console: %w", err)
	}
	unix.IoctlSetInt(fd, unix.TCFLSH, unix.TCIFLUSH)
	return nil
}
