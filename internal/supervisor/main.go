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
)

// listenFD is where the launcher leaves the supervisor's listening socket.
const listenFD = 3

// Main is `bangerd supervise DIR`.
func Main(drivers Drivers, dir string) error {
	debug.SetGCPercent(50) // a supervisor is idle most of its life
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	f := os.NewFile(listenFD, SpecFile)
	l, err := net.FileListener(f)
	if err != nil {
		return fmt.Errorf("take the listening socket from descriptor %d: %w", listenFD, err)
	}
	f.Close()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	return Run(ctx, drivers, dir, l.(*net.UnixListener))
}
