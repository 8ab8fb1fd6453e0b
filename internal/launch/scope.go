package launch

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	systemd "github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
)

// scopeLimit bounds the wait for a user manager to make a scope.
const scopeLimit = time.Second

// EnterScope moves processes of this user into a new systemd scope of that name
// below the user's manager, so that the end of whoever started them, or of the
// session, takes them not along. Where there is no such manager, or it does not
// answer within a second, nothing is lost but that.
func EnterScope(name string, pids ...int) {
	dir := runtimeDir()
	ctx, cancel := context.WithTimeout(context.Background(), scopeLimit)
	defer cancel()
	// The manager's own socket: it is there without a session bus too, and
	// nothing gets started to find it.
	conn, err := systemd.NewConnection(func() (*godbus.Conn, error) {
		c, err := godbus.Dial("unix:path="+godbus.EscapeBusAddressValue(filepath.Join(dir, "systemd", "private")), godbus.WithContext(ctx))
		if err != nil {
			return nil, err
		}
		if err := c.Auth([]godbus.Auth{godbus.AuthExternal(strconv.Itoa(os.Getuid()))}); err != nil {
			c.Close()
			return nil, err
		}
		return c, nil
	})
	if err != nil {
		return
	}
	defer conn.Close()
	var numbers []uint32
	for _, pid := range pids {
		numbers = append(numbers, uint32(pid))
	}
	done := make(chan string, 1)
	_, err = conn.StartTransientUnitContext(ctx, name, "fail", []systemd.Property{
		systemd.PropPids(numbers...),
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

// runtimeDir is this user's runtime directory: su keeps another's in XDG_RUNTIME_DIR.
func runtimeDir() string {
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if fi, err := os.Stat(dir); err == nil {
		if st, ok := fi.Sys().(*syscall.Stat_t); ok && int(st.Uid) == os.Getuid() {
			return dir
		}
	}
	return "/run/user/" + strconv.Itoa(os.Getuid())
}
