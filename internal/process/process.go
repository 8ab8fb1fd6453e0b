// Package process identifies processes for good and watches those that are not
// children: by boot id, pid and start time, through a pidfd.
package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/vm"
)

// BootID is this boot of the host (random(4)), or "" where /proc is missing.
var BootID = sync.OnceValue(func() string {
	b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b))
})

// Self identifies this process.
func Self() (vm.Process, error) { return Of(os.Getpid()) }

// Of identifies the process that has pid now; os.ErrProcessDone when there is
// none, or only a zombie of it.
func Of(pid int) (vm.Process, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return vm.Process{}, os.ErrProcessDone
	}
	if err != nil {
		return vm.Process{}, err
	}
	state, start, err := parseStat(text)
	if err != nil {
		return vm.Process{}, fmt.Errorf("identify process %d: %w", pid, err)
	}
	if state == 'Z' || state == 'X' {
		return vm.Process{}, os.ErrProcessDone
	}
	return vm.Process{BootID: BootID(), PID: pid, StartTicks: start}, nil
}

// parseStat takes fields 3 and 22 of /proc/PID/stat (proc(5)). The command in
// field 2 may hold spaces and parentheses: what counts comes after the last.
func parseStat(text []byte) (state byte, start uint64, err error) {
	i := bytes.LastIndexByte(text, ')')
	if i < 0 {
		return 0, 0, errors.New("stat has no command")
	}
	fields := strings.Fields(string(text[i+1:]))
	if len(fields) < 20 || len(fields[0]) != 1 {
		return 0, 0, fmt.Errorf("stat has %d fields after the command", len(fields))
	}
	start, err = strconv.ParseUint(fields[19], 10, 64)
	return fields[0][0], start, err
}

// Alive reports whether p runs.
func Alive(p vm.Process) bool {
	now, err := Of(p.PID)
	return err == nil && now == p
}

// RSSKiB is the resident memory of pid, or 0 where it can't be told.
func RSSKiB(pid int) int64 {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize()) / 1024
}

// Handle holds one process: signals go to it or to nobody. Its methods may be
// called at once; Close comes last.
type Handle struct {
	pidfd int
}

// Open takes hold of p. It returns os.ErrProcessDone when p is gone, even where
// another process has its pid now.
func Open(p vm.Process) (*Handle, error) {
	if p.BootID != BootID() {
		return nil, os.ErrProcessDone
	}
	fd, err := unix.PidfdOpen(p.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil, os.ErrProcessDone
	}
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", p.PID, err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("open process %d: %w", p.PID, err)
	}
	// The pid may have been reused before the open, not after it. What can't be told
	// is not gone.
	now, err := Of(p.PID)
	if err == nil && now != p {
		err = os.ErrProcessDone
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &Handle{fd}, nil
}

// Signal sends sig; os.ErrProcessDone when the process is gone.
func (h *Handle) Signal(sig unix.Signal) error {
	err := unix.PidfdSendSignal(h.pidfd, sig, nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return os.ErrProcessDone
	}
	if err != nil {
		return fmt.Errorf("send %v: %w", sig, err)
	}
	return nil
}

// Kill ends the process by force; it is gone when Wait returns.
func (h *Handle) Kill() error { return h.Signal(unix.SIGKILL) }

// Wait returns nil when the process has ended (a zombie counts), or ctx's
// error. It need not be a child, and is not reaped. The runtime's poller waits:
// no thread is held.
func (h *Handle) Wait(ctx context.Context) error {
	// A copy, as a deadline is a file's and several may wait.
	fd, err := unix.FcntlInt(uintptr(h.pidfd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("wait for a process: %w", err)
	}
	f := os.NewFile(uintptr(fd), "pidfd") // Open made it non-blocking
	defer f.Close()
	raw, err := f.SyscallConn()
	if err != nil {
		return fmt.Errorf("wait for a process: %w", err)
	}
	defer context.AfterFunc(ctx, func() { f.SetReadDeadline(time.Unix(1, 0)) })()
	var pollErr error
	err = raw.Read(func(fd uintptr) bool {
		var ended bool
		ended, pollErr = readable(int(fd))
		return ended || pollErr != nil
	})
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("wait for a process: %w", err)
	}
	return pollErr
}

// readable reports whether a pidfd's process has ended (pidfd_open(2)).
func readable(fd int) (bool, error) {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		if !errors.Is(err, unix.EINTR) {
			return n > 0, err
		}
	}
}

// Close lets go of the process.
func (h *Handle) Close() error { return unix.Close(h.pidfd) }
