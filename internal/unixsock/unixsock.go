// Package unixsock listens on and dials Unix sockets whose path may be longer
// than the 107 bytes that sun_path holds, and tells who is at the other end.
//
// A long path goes through /proc/self/fd/N of the socket's directory, which
// the kernel resolves to the same file.
package unixsock

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/hint"
)

// MaxPath is the longest path that sockaddr_un takes (unix(7)): 108 bytes with
// the final NUL.
const MaxPath = 107

// ErrInUse says that a process listens on a socket already.
var ErrInUse = errors.New("socket is in use")

// answerLimit bounds the wait for an answer to a connect. The kernel answers it
// at once, whatever the listener does.
const answerLimit = 2 * time.Second

// short returns a path of at most MaxPath bytes that names the same file, and
// a function that gives back what it needed.
func short(path string) (string, func(), error) {
	if path == "" || strings.HasSuffix(path, "/") || strings.ContainsRune(path, 0) {
		return "", nil, fmt.Errorf("%q can't be a socket's path", path)
	}
	if path[0] == '@' { // to package net the name of an abstract socket
		path = "./" + path
	}
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
// error: whoever owns the path's lock removes it first, or calls ListenFresh.
// Closing the listener does not remove the file. An error leaves no new file.
func Listen(path string) (*net.UnixListener, error) {
	p, release, err := short(path)
	if err != nil {
		return nil, err
	}
	defer release()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: p, Net: "unix"})
	if err != nil {
		return nil, explain(fmt.Errorf("listen on %q: %w", path, err), path)
	}
	l.SetUnlinkOnClose(false)
	// The directory is 0700 already; the mode says so on the socket too.
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		os.Remove(path)
		return nil, err
	}
	return l, nil
}

// explain says of a bind's error that the file system is the reason. A
// directory that can't be written to is EACCES or EROFS; a file system that
// makes no such node says one of these (mknod(2), vfs_mknod in fs/namei.c).
func explain(err error, path string) error {
	for _, e := range []error{unix.EPERM, unix.EOPNOTSUPP, unix.ENOSYS} {
		if errors.Is(err, e) {
			dir := filepath.Dir(path)
			return hint.Add(fmt.Errorf("%w: the file system of %q makes no Unix sockets", err, dir),
				"put "+dir+" on a local file system, such as ext4, or set XDG_STATE_HOME to a directory on one")
		}
	}
	return err
}

// ListenFresh is Listen for a path where an earlier process may have left its
// socket. It removes a socket that refuses a connection. A socket that somebody
// listens on is ErrInUse, and what is no socket is an error; both stay. The
// caller holds the lock that makes it the only one to listen on path.
func ListenFresh(path string) (*net.UnixListener, error) {
	fi, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return Listen(path)
	case err != nil:
		return nil, err
	case fi.Mode().Type() != os.ModeSocket:
		return nil, fmt.Errorf("listen on %q: it is there and is not a socket", path)
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerLimit)
	defer cancel()
	c, err := Dial(ctx, path)
	switch {
	case err == nil:
		c.Close()
		return nil, fmt.Errorf("listen on %q: %w", path, ErrInUse)
	case errors.Is(err, unix.EAGAIN): // its queue is full: somebody is slow to accept
		return nil, fmt.Errorf("listen on %q: %w", path, ErrInUse)
	case errors.Is(err, unix.ECONNREFUSED):
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	case !errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("ask who listens: %w", err)
	}
	return Listen(path)
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
