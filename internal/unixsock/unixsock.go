// Package unixsock listens on and dials Unix sockets whose path may be longer
// than the 107 bytes that sun_path holds, and tells who is at the other end.
//
// A long path goes through /proc/self/fd/N of the socket's directory, which
// the kernel resolves to the same file.
package unixsock

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// MaxPath is the longest path that sockaddr_un takes (unix(7)): 108 bytes with
// the final NUL.
const MaxPath = 107

// short returns a path of at most MaxPath bytes that names the same file, and
// a function that gives back what it needed.
func short(path string) (string, func(), error) {
	if len(path) <= MaxPath {
		return path, func() {}, nil
	}
	dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, &os.PathError{Op: "open", Path: filepath.Dir(path), Err: err}
	}
	s := "/proc/self/fd/" + strconv.Itoa(dir) + "/" + filepath.Base(path)
	if len(s) > MaxPath {
		unix.Close(dir)
		return "", nil, fmt.Errorf("socket name %q is longer than %d bytes", filepath.Base(path), MaxPath-24)
	}
	return s, func() { unix.Close(dir) }, nil
}

// Listen makes a socket of mode 0600 at path. A file already there is an
// error: whoever owns the path's lock removes it first. Closing the listener
// does not remove the file.
func Listen(path string) (*net.UnixListener, error) {
	p, release, err := short(path)
	if err != nil {
		return nil, err
	}
	defer release()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: p, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", path, err)
	}
	l.SetUnlinkOnClose(false)
	// The directory is 0700 already; the mode says so on the socket too.
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// Dial connects to the socket at path.
func Dial(ctx context.Context, path string) (*net.UnixConn, error) {
	p, release, err := short(path)
	if err != nil {
		return nil, err
	}
	defer release()
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", p)
	if err != nil {
		return nil, fmt.Errorf("connect to %q: %w", path, err)
	}
	return c.(*net.UnixConn), nil
}

// Peer returns the credentials of the process that made the connection, as the
// kernel noted them then (SO_PEERCRED, unix(7)).
func Peer(c *net.UnixConn) (*unix.Ucred, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err != nil {
		return nil, err
	}
	return cred, credErr
}
