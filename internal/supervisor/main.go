package supervisor

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"banger/internal/process"
	"banger/internal/vmm"
)

// Main is `bangerd supervise DIR`, as Spawn starts it. SIGTERM and SIGINT ask for
// a graceful end of the guest: the host shuts down, or its user manager ends. The
// signals that follow them at a logout, or come from a terminal, are ignored: the
// end is under way.
func Main(drivers vmm.Drivers, dir string) error {
	signal.Ignore(syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	debug.SetGCPercent(50) // a supervisor is idle most of its life
	slog.SetDefault(slog.New(slog.NewTextHandler(ownLog{os.Stderr, maxOwnLog}, nil)))
	self, err := process.Self()
	if err != nil {
		return err
	}
	lock, err := keepLock(fdLock, self)
	if err != nil {
		return err
	}
	defer lock.Close()
	f := os.NewFile(fdListen, socket)
	l, err := net.FileListener(f)
	if err != nil {
		return fmt.Errorf("take the listening socket from descriptor %d: %w", fdListen, err)
	}
	f.Close()
	return Run(ctx, drivers, dir, l.(*net.UnixListener))
}
