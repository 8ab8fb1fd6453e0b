package command

import (
	"os"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"banger/internal/channel/exec"
)

// openTerminal makes a pseudo-terminal of that size. Its master has deadlines, and
// closing it ends what waits for it: package pty leaves it blocking.
func openTerminal(size exec.Size) (master, slave *os.File, err error) {
	m, slave, err := pty.Open()
	if err != nil {
		return nil, nil, err
	}
	defer m.Close()
	fd, err := unix.FcntlInt(m.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		slave.Close()
		return nil, nil, err
	}
	master = os.NewFile(uintptr(fd), m.Name())
	if size.Rows > 0 && size.Cols > 0 {
		resize(master, size)
	}
	return master, slave, nil
}

// resize gives the process's terminal another size, if it has one.
func (p *process) resize(s exec.Size) {
	if p.terminal != nil {
		resize(p.terminal, s)
	}
}

// resize tells a terminal's processes its size.
func resize(f *os.File, s exec.Size) {
	if raw, err := f.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) {
			unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: s.Rows, Col: s.Cols})
		})
	}
}

// prepare changes a terminal's settings, and returns env with its path.
func (t Terminal) prepare(slave *os.File, env []string) []string {
	if raw, err := slave.SyscallConn(); err == nil && t.Change != nil {
		raw.Control(func(fd uintptr) {
			if set, err := unix.IoctlGetTermios(int(fd), unix.TCGETS); err == nil {
				t.Change(set)
				unix.IoctlSetTermios(int(fd), unix.TCSETS, set)
			}
		})
	}
	if t.Variable != "" {
		env = setenv(env, t.Variable, t.Variable+"="+slave.Name())
	}
	return env
}
