package unixsock

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Handle is a socket's file, held open: it can be dialled after the file was
// removed or moved, as long as its listener lives. Its methods may be called at
// once.
type Handle struct{ file *os.File }

// Hold opens the socket at path, which must be there. It connects to nobody.
func Hold(path string) (*Handle, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	h := &Handle{os.NewFile(uintptr(fd), path)}
	if fi, err := h.file.Stat(); err != nil || fi.Mode().Type() != os.ModeSocket {
		h.Close()
		return nil, fmt.Errorf("%q is not a socket", path)
	}
	return h, nil
}

// Dial connects to the socket. The kernel resolves a descriptor's name in
// /proc/self/fd to its file, whether that has another name or none
// (proc_pid_fd(5)).
func (h *Handle) Dial(ctx context.Context) (*net.UnixConn, error) {
	raw, err := h.file.SyscallConn()
	if err != nil {
		return nil, err
	}
	var c net.Conn
	var dialErr error
	err = raw.Control(func(fd uintptr) { // fd is this file's until the return
		var d net.Dialer
		c, dialErr = d.DialContext(ctx, "unix", "/proc/self/fd/"+strconv.Itoa(int(fd)))
	})
	if err == nil {
		err = dialErr
	}
	if err != nil {
		return nil, fmt.Errorf("connect to %q: %w", h.file.Name(), err)
	}
	return c.(*net.UnixConn), nil
}

// Close lets the file go. Connections stay. A Dial after it is an error.
func (h *Handle) Close() error { return h.file.Close() }
