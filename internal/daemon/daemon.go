package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"banger/internal/hint"
	"banger/internal/instance"
	"banger/internal/network/names"
	"banger/internal/unixsock"
)

// Daemon is an open daemon. Its fields do not change after Open.
type Daemon struct {
	cfg     instance.Config
	set     *instance.Set
	started time.Time
	lock    *os.File
	listen  *net.UnixListener
	names   *names.Server

	// life ends when the daemon is told to stop. Requests are bounded by it; VMs
	// are not.
	life context.Context
	stop context.CancelFunc
}

// Open takes the state directory, opens the VMs in it, and listens. ErrRunning
// says that another daemon does all that. ctx bounds the opening; its end, as
// that of the daemon, never touches a VM.
func Open(ctx context.Context, cfg instance.Config) (_ *Daemon, err error) {
	d := &Daemon{cfg: cfg, started: time.Now()}
	d.life, d.stop = context.WithCancel(context.WithoutCancel(ctx))
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	dirs := cfg.Dirs
	if err := os.MkdirAll(dirs.State, 0o700); err != nil {
		return nil, hint.Add(fmt.Errorf("make the state directory: %w", err), elsewhere)
	}
	if err := checkOwner(dirs.State); err != nil {
		return nil, err
	}
	if d.lock, err = takeLock(dirs); err != nil {
		return nil, err
	}
	if d.set, err = instance.Open(ctx, cfg); err != nil {
		return nil, err
	}
	if d.listen, err = unixsock.ListenFresh(dirs.Socket()); err != nil {
		return nil, hint.Add(err, "set XDG_STATE_HOME to a directory on a local file system")
	}
	d.names = names.Start(names.Addr, d.set.AddrOf)
	return d, nil
}

// Serve answers until Quit or ctx's end, then gives up requests under way,
// leaves all VMs running, and closes everything.
func (d *Daemon) Serve(ctx context.Context) error {
	defer d.close()
	server := d.newServer()
	served := make(chan error, 1)
	serve := func(l net.Listener) {
		go func() { // ends with Shutdown or Close
			err := server.Serve(l)
			select {
			case served <- err:
			default:
			}
		}()
	}
	serve(d.listen)
	slog.Info("serving", "socket", d.cfg.Dirs.Socket(), "vms", len(d.set.All()))
	err := d.keepSocket(ctx, served, serve)
	// Removing the socket first: a CLI that comes now starts a new daemon, which
	// waits for nothing but the lock.
	os.Remove(d.cfg.Dirs.Socket())
	d.stop()
	over, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if server.Shutdown(over) != nil {
		server.Close()
	}
	return err
}

// keepSocket returns when the daemon is to end, or a listener failed. A socket
// that a cleaner took away is bound anew.
func (d *Daemon) keepSocket(ctx context.Context, served <-chan error, serve func(net.Listener)) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	path := d.cfg.Dirs.Socket()
	for {
		select {
		case err := <-served:
			if errors.Is(err, http.ErrServerClosed) {
				return nil
			}
			return err
		case <-ctx.Done():
			return nil
		case <-d.life.Done():
			return nil
		case <-tick.C:
		}
		if _, err := os.Lstat(path); err == nil || !errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			continue
		}
		if l, err := unixsock.ListenFresh(path); err != nil {
			slog.Warn("bind the socket anew", "err", err)
		} else {
			slog.Info("the socket was gone and is bound anew")
			serve(l)
		}
	}
}

// Quit ends Serve.
func (d *Daemon) Quit() { d.stop() }

func (d *Daemon) close() {
	d.stop()
	if d.listen != nil {
		d.listen.Close()
	}
	if d.names != nil {
		d.names.Close()
	}
	if d.set != nil {
		d.set.Close()
	}
	if d.lock != nil {
		d.lock.Close()
	}
}
