package autostart

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/hint"
)

// maxStderr bounds what is shown of a failing daemon's stderr, in bytes.
const maxStderr = 2 << 10

// start starts bangerd in a session of its own and reads its report from
// descriptor 3: "ready", or "error: …" and perhaps "hint: …", then its end.
func start(ctx context.Context, o Options) error {
	program, err := FindDaemon()
	if err != nil {
		return err
	}
	if o.Slow != nil {
		timer := time.AfterFunc(slowAfter, o.Slow)
		defer timer.Stop()
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	// A file without a name takes stderr: unlike a pipe it still takes what the
	// daemon writes when this program is gone.
	stderr, err := memoryFile()
	if err != nil {
		w.Close()
		return err
	}
	defer stderr.Close()
	if err := closeOnExec(); err != nil {
		w.Close()
		return fmt.Errorf("keep this program's descriptors from bangerd: %w", err)
	}
	cmd := exec.Command(program, "serve", "--ready-fd", "3")
	cmd.ExtraFiles = []*os.File{w}
	cmd.Stderr = stderr
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return fmt.Errorf("start bangerd: %w", err)
	}
	// The daemon outlives this program, whose end hands it to init.
	defer cmd.Process.Release()
	limited, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	defer context.AfterFunc(limited, func() { r.SetReadDeadline(time.Unix(1, 0)) })()
	report, advice := readReport(r)
	switch {
	case report == "ready":
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case limited.Err() != nil:
		return hint.Add(fmt.Errorf("start bangerd: it is not ready after %v", startLimit), "banger daemon status; "+o.Dirs.DaemonLog()+" says what it does")
	case report == "":
		return noReport(cmd, stderr)
	}
	err = fmt.Errorf("start bangerd: %s", strings.TrimPrefix(report, "error: "))
	if advice == "" {
		if l, held := ReadLock(o.Dirs.Lock()); held && l.PID != 0 {
			advice = fmt.Sprintf("another bangerd holds the state directory: pid %d; kill -9 %d ends it, VMs and sessions go on", l.PID, l.PID)
		}
	}
	if advice != "" {
		err = hint.Add(err, advice)
	}
	return err
}

// readReport reads up to the end of r.
func readReport(r io.Reader) (report, advice string) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if text, ok := strings.CutPrefix(lines.Text(), "hint: "); ok {
			advice = text
		} else if report == "" {
			report = lines.Text()
		}
	}
	return report, advice
}

// noReport describes a daemon that closed its descriptor without a report: how
// it ended, and what it wrote to stderr. A child that still lives is of no use
// and is ended: it is this program's own, and nobody was told of it.
func noReport(cmd *exec.Cmd, stderr *os.File) error {
	cmd.Process.Kill()
	cmd.Wait()
	text, _ := io.ReadAll(io.NewSectionReader(stderr, 0, maxStderr))
	if said := strings.TrimSpace(string(text)); said != "" {
		return fmt.Errorf("start bangerd: it ended (%v): %s", cmd.ProcessState, said)
	}
	return fmt.Errorf("start bangerd: it ended without a report (%v)", cmd.ProcessState)
}

// memoryFile is an empty file that has no name and is gone with its last
// descriptor.
func memoryFile() (*os.File, error) {
	fd, err := unix.MemfdCreate("bangerd-stderr", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	return os.NewFile(uintptr(fd), "bangerd-stderr"), nil
}
