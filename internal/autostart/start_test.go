package autostart

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"banger/internal/hint"
	"banger/internal/paths"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// program puts a shell script named bangerd first in PATH.
func program(t *testing.T, script string) {
	t.Helper()
	t.Setenv(NoAutostart, "")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "bangerd"), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// fresh are options with a state directory of the test's own.
func fresh(t *testing.T) Options { return Options{Dirs: paths.Dirs{State: t.TempDir()}} }

func TestStart(t *testing.T) {
	for _, test := range []struct {
		name, script string
		err, hint    string // parts of them
	}{
		{"ready", `[ "$1 $2 $3" = "serve --ready-fd 3" ] && echo ready >&3`, "", ""},
		{"refusal", `echo "error: no room" >&3; echo "hint: make some" >&3; exit 1`, "start bangerd: no room", "make some"},
		{"death with stderr", `echo "panic: boom" >&2; exit 2`, "it ended (exit status 2): panic: boom", ""},
		{"death without a report", `kill -9 $$`, "it ended without a report (signal: killed)", ""},
		{"its descriptor closed, alive", `exec 3>&-; exec sleep 1000`, "it ended without a report (signal: killed)", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			program(t, test.script)
			_, err := Connect(t.Context(), fresh(t))
			if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("Connect = %v, want an error with %q", err, test.err)
			}
			if got := hint.Of(err); got != test.hint {
				t.Errorf("Connect hints %q, want %q", got, test.hint)
			}
		})
	}
}

// A user who gives up while the daemon starts is not kept waiting. A user who
// does not give up is told that it is starting, once.
func TestStartSlow(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	program(t, "cat "+fifo+"; echo ready >&3")
	defer func() { // ends the script
		if f, err := os.OpenFile(fifo, os.O_RDWR, 0); err == nil {
			f.Close()
		}
	}()
	o := fresh(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var told atomic.Int32
	o.Slow = func() {
		told.Add(1)
		cancel()
	}
	if _, err := Connect(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("Connect = %v, want its context's error", err)
	}
	if told.Load() != 1 {
		t.Errorf("Slow was called %d times, want once", told.Load())
	}
}

// No descriptor of the caller's caller gets into bangerd: a shell's lock is free
// when the shell ends, and a pipe has its end.
func TestDescriptorsStayHere(t *testing.T) {
	dir := t.TempDir()
	lock := filepath.Join(dir, "lock")
	f, err := os.Create(lock)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var held []int // without close-on-exec, as a shell leaves them
	for _, from := range []*os.File{f, w} {
		fd, err := unix.FcntlInt(from.Fd(), unix.F_DUPFD, 20)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, fd)
	}
	w.Close()
	if err := unix.Flock(held[0], unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	// It stays until its end of the fifo is closed, as bangerd would.
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	program(t, fmt.Sprintf("echo ready >&3; exec 3>&-; exec cat %s", fifo))
	if _, err := Connect(t.Context(), fresh(t)); err != nil {
		t.Fatal(err)
	}
	for _, fd := range held {
		unix.Close(fd)
	}
	f.Close()
	again, err := os.Open(lock)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if err := unix.Flock(int(again.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Errorf("the caller's lock is held after the caller's end: %v", err)
	}
	r.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := r.Read(make([]byte, 1)); n != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the caller's pipe gave %d bytes, %v; want its end", n, err)
	}
	end, err := os.OpenFile(fifo, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	end.Close()
}

func TestFindDaemon(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := FindDaemon(); err == nil || hint.Of(err) == "" {
		t.Errorf("FindDaemon without one = %v, want an error with a hint", err)
	}
}
