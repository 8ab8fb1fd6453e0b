package api

import (
	"bufio"
	"context"
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

	"banger/internal/hint"
)

// NoAutostart, set to anything, keeps Connect from starting a daemon.
const NoAutostart = "BANGER_NO_AUTOSTART"

const (
	// startLimit bounds a daemon's start; it reconciles within 5 s, and waits up
	// to 10 s for one before it to let go of the lock.
	startLimit = 30 * time.Second
	// pingLimit bounds a daemon's answer to the simplest question.
	pingLimit = 10 * time.Second
	// maxWords bounds what is shown of a failing daemon's stderr, in bytes.
	maxWords = 2 << 10
)

// Connect returns a client of the daemon on socket, starting the bangerd that
// belongs to this program where none answers.
func Connect(ctx context.Context, socket string) (*Client, error) {
	c := NewClient(socket)
	// A question, not a connection alone: a daemon that is dying still has a
	// socket. What it answers with a fault it answers.
	ping, cancel := context.WithTimeout(ctx, pingLimit)
	err := c.Get(ping, PathDaemon, nil)
	timeout := ping.Err() != nil
	cancel()
	var f *Fault
	switch {
	case err == nil, errors.As(err, &f):
		return c, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case timeout:
		return nil, hint.Add(fmt.Errorf("ask bangerd on %q: no answer within %v", socket, pingLimit),
			"end it with kill, by the pid that fuser or ss -xlp shows; VMs and sessions are not touched, and the next command starts another one")
	case os.Getenv(NoAutostart) != "":
		return nil, hint.Add(ErrNoDaemon, "unset "+NoAutostart+", or start one: bangerd serve")
	}
	if err := startDaemon(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// startDaemon starts bangerd in a session of its own and waits for its word on
// descriptor 3: "ready", or "error: …" and perhaps "hint: …", and its end.
func startDaemon(ctx context.Context) error {
	program, err := FindDaemon()
	if err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	// A file without a name takes stderr: unlike a pipe it still takes what the
	// daemon says when this program is gone.
	words, err := memoryFile()
	if err != nil {
		w.Close()
		return err
	}
	defer words.Close()
	cmd := exec.Command(program, "serve", "--ready-fd", "3")
	cmd.ExtraFiles = []*os.File{w}
	cmd.Stderr = words
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return fmt.Errorf("start bangerd: %w", err)
	}
	// It outlives this program, whose end hands it to init.
	defer cmd.Process.Release()
	limited, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	defer context.AfterFunc(limited, func() { r.SetReadDeadline(time.Unix(1, 0)) })()
	word, advice := readWord(r)
	switch {
	case word == "ready":
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case limited.Err() != nil:
		return hint.Add(fmt.Errorf("start bangerd: it is not ready after %v", startLimit), "banger daemon status; bangerd.log in the state directory says what it does")
	case word == "":
		return noWord(cmd, words)
	}
	err = fmt.Errorf("start bangerd: %s", strings.TrimPrefix(word, "error: "))
	if advice != "" {
		err = hint.Add(err, advice)
	}
	return err
}

// readWord reads up to the end of r.
func readWord(r io.Reader) (word, advice string) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if text, ok := strings.CutPrefix(lines.Text(), "hint: "); ok {
			advice = text
		} else if word == "" {
			word = lines.Text()
		}
	}
	return word, advice
}

// noWord reports a daemon that gave its descriptor up without a word: how it
// ended, and what it wrote to stderr.
func noWord(cmd *exec.Cmd, words *os.File) error {
	cmd.Process.Kill() // where it lives on, it is of no use
	cmd.Wait()
	text, _ := io.ReadAll(io.NewSectionReader(words, 0, maxWords))
	if said := strings.TrimSpace(string(text)); said != "" {
		return fmt.Errorf("start bangerd: it ended (%v): %s", cmd.ProcessState, said)
	}
	return fmt.Errorf("start bangerd: it ended without a word (%v)", cmd.ProcessState)
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

// FindDaemon finds the bangerd that was built with this program: beside it, in
// ../libexec/banger of an installation, else in PATH.
func FindDaemon() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	dir := filepath.Dir(self)
	for _, p := range []string{filepath.Join(dir, "bangerd"), filepath.Join(dir, "..", "libexec", "banger", "bangerd")} {
		if fi, err := os.Stat(p); err == nil && fi.Mode().IsRegular() {
			return filepath.Clean(p), nil
		}
	}
	if p, err := exec.LookPath("bangerd"); err == nil {
		return p, nil
	}
	return "", hint.Add(fmt.Errorf("find bangerd beside %q: there is none, nor in PATH", self), "make build, or install all of banger's programs together")
}
