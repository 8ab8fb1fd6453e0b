package launch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	systemd "github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// firstFile is the descriptor of Spec.Files[0].
const firstFile = 3

// scopeLimit bounds the wait for a user manager to make a scope.
const scopeLimit = time.Second

// Main is `bangerd launch FD`: it reads the order on descriptor FD, reports
// trouble on FD+1, and becomes the program. It does not return.
func Main() {
	runtime.LockOSThread() // no_new_privs is a thread's, and this one execs
	fd, err := strconv.Atoi(os.Args[len(os.Args)-1])
	if err != nil || fd < firstFile {
		fmt.Fprintln(os.Stderr, "bangerd launch: not for hand use")
		os.Exit(125)
	}
	report := os.NewFile(uintptr(fd+1), "status")
	unix.CloseOnExec(fd + 1)
	fmt.Fprintln(report, become(fd))
	os.Exit(125)
}

// become applies the order and execs; it returns only on an error.
func become(fd int) error {
	in := os.NewFile(uintptr(fd), "order")
	text, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	in.Close()
	var o order
	if err := json.Unmarshal(text, &o); err != nil {
		return fmt.Errorf("read the order: %w", err)
	}
	if !filepath.IsAbs(o.Path) {
		return fmt.Errorf("path %q is not absolute", o.Path)
	}
	if o.Scope != "" {
		enterScope(o.Scope)
	}
	unix.Umask(0o077)
	if o.Dir != "" {
		if err := os.Chdir(o.Dir); err != nil {
			return err
		}
	}
	for what, n := range map[int]int64{unix.RLIMIT_FSIZE: o.MaxFileSize, unix.RLIMIT_NOFILE: o.MaxOpenFiles} {
		if n <= 0 {
			continue
		}
		if err := unix.Setrlimit(what, &unix.Rlimit{Cur: uint64(n), Max: uint64(n)}); err != nil {
			return fmt.Errorf("set a limit: %w", err)
		}
	}
	if o.NoNewPrivs {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("set no_new_privs: %w", err)
		}
	}
	// What the starter's starter left open is not ours to pass on.
	if err := unix.CloseRange(uint(firstFile+o.Files), ^uint(0)>>32, unix.CLOSE_RANGE_CLOEXEC); err != nil && !errors.Is(err, unix.ENOSYS) {
		return fmt.Errorf("mark descriptors: %w", err)
	}
	err = syscall.Exec(o.Path, append([]string{o.Path}, o.Args...), o.Env)
	return fmt.Errorf("execute: %w", err)
}

// enterScope moves this process into a systemd scope of its own below the
// user's manager, so that the starter's end takes nothing along. Where there
// is no such manager, nothing is lost but that.
func enterScope(name string) {
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" {
		dir = "/run/user/" + strconv.Itoa(os.Getuid())
	}
	socket := filepath.Join(dir, "systemd", "private")
	if _, err := os.Stat(socket); err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), scopeLimit)
	defer cancel()
	conn, err := systemd.NewUserConnectionContext(ctx)
	if err != nil {
		return
	}
	defer conn.Close()
	done := make(chan string, 1)
	_, err = conn.StartTransientUnitContext(ctx, name, "fail", []systemd.Property{
		systemd.PropPids(uint32(os.Getpid())),
		{Name: "CollectMode", Value: godbus.MakeVariant("inactive-or-failed")},
	}, done)
	if err != nil {
		return
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
}
