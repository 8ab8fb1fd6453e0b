package daemon

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"banger/internal/config"
	"banger/internal/hint"
	"banger/internal/instance"
	"banger/internal/paths"
	"banger/internal/unixsock"
	"banger/internal/vmm"
)

const (
	maxLog      = 8 << 20 // bangerd.log is started anew beyond this, in bytes
	readyFD     = "ready-fd"
	handoverTry = 10 * time.Second // for a daemon that is ending to give its lock up
)

// Main is `bangerd serve`. With --ready-fd N it says on that descriptor, in one
// line, "ready" or "error: …", and closes it; where another daemon answers
// already that is "ready" too.
func Main(program string, drivers vmm.Drivers, args []string) error {
	flags := flag.NewFlagSet("bangerd serve", flag.ContinueOnError)
	fd := flags.Int(readyFD, -1, "descriptor on which to say ready")
	if err := flags.Parse(args); err != nil {
		return err
	}
	// Idle is the daemon's usual state: memory goes back sooner, at the price of
	// more collections under load.
	debug.SetGCPercent(50)
	// The daemon belongs to no terminal and no session: the end of one is no
	// reason to stop answering.
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE, syscall.SIGQUIT)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	d, err := open(ctx, program, drivers)
	say(*fd, err)
	if errors.Is(err, ErrRunning) {
		return nil
	}
	if err != nil {
		return err
	}
	return d.Serve(ctx)
}

// say tells the starter how the start went.
func say(fd int, err error) {
	if fd < 0 {
		return
	}
	f := os.NewFile(uintptr(fd), readyFD)
	defer f.Close()
	if err == nil || errors.Is(err, ErrRunning) {
		fmt.Fprintln(f, "ready")
		return
	}
	fmt.Fprintf(f, "error: %v\n", err)
	if h := hint.Of(err); h != "" {
		fmt.Fprintf(f, "hint: %s\n", h)
	}
}

func open(ctx context.Context, program string, drivers vmm.Drivers) (*Daemon, error) {
	dirs, err := paths.Host()
	if err != nil {
		return nil, hint.Add(err, "set HOME, or XDG_STATE_HOME, XDG_CACHE_HOME and XDG_CONFIG_HOME")
	}
	if err := openLog(dirs); err != nil {
		return nil, err
	}
	agent, err := findAgent(program)
	if err != nil {
		return nil, err
	}
	cfg := instance.Config{Dirs: dirs, Program: program, Agent: agent, Drivers: drivers, Bounds: readBounds(dirs), Network: readNetwork(dirs)}
	d, err := Open(ctx, cfg)
	if !errors.Is(err, ErrRunning) {
		return d, err
	}
	// The lock's holder answers, or is ending and its lock comes free.
	waiting, cancel := context.WithTimeout(ctx, handoverTry)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if c, err := unixsock.Dial(waiting, dirs.Socket()); err == nil {
			c.Close()
			return nil, ErrRunning
		}
		select {
		case <-tick.C:
		case <-waiting.Done():
			return nil, hint.Add(fmt.Errorf("another bangerd holds %q and does not answer", dirs.Lock()), "banger daemon status; its log is "+dirs.DaemonLog())
		}
		// The time to open is not bounded: only the wait for the lock is.
		if d, err := Open(ctx, cfg); !errors.Is(err, ErrRunning) {
			return d, err
		}
	}
}

// readBounds reads the bounds of saved and unsaved work from the user's configuration at
// each call. If that can't be read, they are those of before, or else the defaults: the
// CLI says what is wrong with it.
func readBounds(dirs paths.Dirs) func() config.Bounds {
	var mu sync.Mutex
	last := config.Config{}.Bounds()
	return func() config.Bounds {
		mu.Lock()
		defer mu.Unlock()
		c, err := config.Load(filepath.Join(dirs.Config, config.File))
		if err != nil {
			slog.Warn("the bounds of saved work stay as they were", "err", err)
			return last
		}
		last = c.Bounds()
		return last
	}
}

// readNetwork reads the network of all VMs from the user's configuration at each call. One that
// can't be read is an error: what a guest may reach is no guess.
func readNetwork(dirs paths.Dirs) func() (config.Network, error) {
	return func() (config.Network, error) {
		c, err := config.Load(filepath.Join(dirs.Config, config.File))
		return c.Network, err
	}
}

func openLog(dirs paths.Dirs) error {
	if err := os.MkdirAll(dirs.State, 0o700); err != nil {
		return hint.Add(fmt.Errorf("make the state directory: %w", err), "make the directory writable, or set XDG_STATE_HOME to another one")
	}
	name := dirs.DaemonLog()
	if fi, err := os.Stat(name); err == nil && fi.Size() > maxLog {
		os.Rename(name, name+".1")
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return hint.Add(fmt.Errorf("open the log: %w", err), "make the directory writable, or set XDG_STATE_HOME to another one")
	}
	slog.SetDefault(slog.New(slog.NewTextHandler(f, nil)))
	return nil
}

// findAgent finds the guest's agent: beside bangerd, or in ../libexec/banger of
// an installation.
func findAgent(program string) (string, error) {
	dir := filepath.Dir(program)
	for _, p := range []string{filepath.Join(dir, "banger-agent"), filepath.Join(dir, "..", "libexec", "banger", "banger-agent")} {
		if fi, err := os.Stat(p); err == nil && fi.Mode().IsRegular() {
			return filepath.Clean(p), nil
		}
	}
	return "", hint.Add(fmt.Errorf("find banger-agent beside %q: there is none", program), "make build, or install all of banger's programs together")
}
