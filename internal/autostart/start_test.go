package api

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/hint"
)

// program puts a shell script named bangerd first in PATH.
func program(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "bangerd"), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func TestStartDaemon(t *testing.T) {
	t.Setenv(NoAutostart, "")
	for _, test := range []struct {
		name, script string
		err, hint    string // parts of them
	}{
		{"ready", `[ "$1 $2 $3" = "serve --ready-fd 3" ] && echo ready >&3`, "", ""},
		{"refusal", `echo "error: no room" >&3; echo "hint: make some" >&3; exit 1`, "start bangerd: no room", "make some"},
		{"death with words", `echo "panic: boom" >&2; exit 2`, "it ended (exit status 2): panic: boom", ""},
		{"death without a word", `kill -9 $$`, "it ended without a word (signal: killed)", ""},
		{"its descriptor closed, alive", `exec 3>&-; exec sleep 1000`, "it ended without a word (signal: killed)", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			program(t, test.script)
			_, err := Connect(t.Context(), filepath.Join(t.TempDir(), "s"))
			if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("Connect = %v, want an error with %q", err, test.err)
			}
			if got := hint.Of(err); got != test.hint {
				t.Errorf("Connect hints %q, want %q", got, test.hint)
			}
		})
	}
}

// A user who gives up while the daemon starts is not kept waiting.
func TestStartDaemonCancelled(t *testing.T) {
	t.Setenv(NoAutostart, "")
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
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := Connect(ctx, filepath.Join(t.TempDir(), "s")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Connect = %v, want its context's error", err)
	}
}

func TestFindDaemon(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := FindDaemon(); err == nil || hint.Of(err) == "" {
		t.Errorf("FindDaemon without one = %v, want an error with a hint", err)
	}
}
