package supervisor

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"banger/internal/fault"
	"banger/internal/launch"
	"banger/internal/unixsock"
	"banger/internal/vm"
)

// Descriptors that a supervisor inherits.
const (
	fdListen = 3 + iota // its listening socket
	fdLock              // the lock of the run
)

// Spawn starts a supervisor (program supervise DIR) for o and returns who it is.
// Its socket is open before it starts, so that it can be dialled at once. It
// has a session of its own, and is reaped here if this process outlives it.
//
// lock is what TakeLock returned: it is closed here in any case, and the
// supervisor holds it from then on. On an error nothing of the run is left.
func Spawn(program string, o Order, lock *os.File) (p vm.Process, err error) {
	defer lock.Close()
	o.RunDir, o.Protocol = RunDir(o.Dir), Protocol
	defer func() {
		if err != nil {
			fault.Do("start.undo", func() error {
				return errors.Join(os.RemoveAll(o.RunDir), os.Remove(filepath.Join(o.Dir, OrderFile)))
			})
		}
	}()
	err = fault.Do("start.old-end", func() error { return os.Remove(filepath.Join(o.Dir, RunFile)) })
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return p, err // it would be taken for this run's end
	}
	// The lock is ours: what lies there is left from a run that is over.
	if err := fault.Do("start.old-sockets", func() error { return os.RemoveAll(o.RunDir) }); err != nil {
		return p, err
	}
	if err := fault.Do("start.sockets", func() error { return os.Mkdir(o.RunDir, 0o700) }); err != nil {
		return p, err
	}
	if err := WriteOrder(o); err != nil {
		return p, err
	}
	var l *net.UnixListener
	err = fault.Do("start.listen", func() (err error) {
		l, err = unixsock.Listen(SocketPath(o.Dir))
		return err
	})
	if err != nil {
		return p, err
	}
	defer l.Close()
	listening, err := l.File()
	if err != nil {
		return p, err
	}
	defer listening.Close()
	log, err := os.OpenFile(filepath.Join(o.Dir, LogFile), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return p, err
	}
	defer log.Close()
	err = fault.Do("start.supervisor", func() error {
		child, err := launch.Start(program, launch.Spec{
			Path: program, Args: []string{"supervise", o.Dir}, Env: environment(o),
			Files: []*os.File{listening, lock}, Stdout: log, Stderr: log,
			NewSession: true, NoNewPrivs: true,
		})
		if err == nil {
			p = child.Process()
		}
		return err
	})
	return p, err
}

// environment is all that a supervisor gets of its starter's.
func environment(o Order) []string {
	var env []string
	for _, k := range []string{"PATH", "GOCOVERDIR", "GORACE", "XDG_RUNTIME_DIR", "BANGER_FAULT", "BANGER_FAULT_TRACE"} {
		if v, ok := os.LookupEnv(k); ok {
			env = append(env, k+"="+v)
		}
	}
	if o.Network != nil {
		env = append(env, o.Network.Proxies.environment()...)
	}
	return env
}
