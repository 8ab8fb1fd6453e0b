package launch

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"time"

	systemd "github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
)

// scopeLimit bounds the wait for a user manager to make a scope.
const scopeLimit = time.Second

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
