package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"banger/internal/hint"
)

// NoAutostart, set to anything, keeps Connect from starting a daemon.
const NoAutostart = "BANGER_NO_AUTOSTART"

// startLimit bounds a daemon's start; it reconciles within 5 s.
const startLimit = 30 * time.Second

// Connect returns a client of the daemon on socket, starting the bangerd that
// belongs to this program where none answers.
func Connect(ctx context.Context, socket string) (*Client, error) {
	c := NewClient(socket)
	var f *Fault
	// A question, not a connection alone: a daemon that is dying still has a
	// socket. What it answers with a fault it answers.
	if err := c.Get(ctx, PathDaemon, nil); err == nil || errors.As(err, &f) || ctx.Err() != nil {
		return c, ctx.Err()
	}
	if os.Getenv(NoAutostart) != "" {
		return nil, hint.Add(ErrNoDaemon, "unset "+NoAutostart+", or start one: bangerd serve")
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	return c, startDaemon(ctx)
}

// startDaemon starts bangerd in a session of its own and waits for its word.
func startDaemon(ctx context.Context) error {
	program, err := findDaemon()
	if err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := exec.Command(program, "serve", "--ready-fd", "3")
	cmd.ExtraFiles = []*os.File{w}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return fmt.Errorf("start bangerd: %w", err)
	}
	// It outlives this program, whose end hands it to init.
	defer cmd.Process.Release()
	defer context.AfterFunc(ctx, func() { r.SetReadDeadline(time.Unix(1, 0)) })()
	lines := bufio.NewScanner(r)
	var word, advice string
	for lines.Scan() {
		if text, ok := strings.CutPrefix(lines.Text(), "hint: "); ok {
			advice = text
		} else if word == "" {
			word = lines.Text()
		}
	}
	switch {
	case word == "ready":
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("start bangerd: %w", ctx.Err())
	case word == "":
		return errors.New("start bangerd: it ended without a word")
	}
	err = fmt.Errorf("start bangerd: %s", strings.TrimPrefix(word, "error: "))
	if advice != "" {
		err = hint.Add(err, advice)
	}
	return err
}

// findDaemon finds the bangerd that was built with this program: beside it, or
// in ../libexec/banger of an installation.
func findDaemon() (string, error) {
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
	return "", hint.Add(fmt.Errorf("find bangerd beside %q: there is none", self), "make build, or install all of banger's programs together")
}
