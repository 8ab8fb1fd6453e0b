package unixsock

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Peer returns the credentials of the process at the other end, as the kernel
// noted them when the connection was made (SO_PEERCRED, unix(7)): for a server
// those of the process that connected, for a client those of the process that
// called listen.
func Peer(c *net.UnixConn) (*unix.Ucred, error) { return peer(c) }

func peer(c syscall.Conn) (*unix.Ucred, error) {
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

// ownUID is this process's user; tests stand for another one.
var ownUID = os.Geteuid

// SameUser returns nil if the process at the other end of c, a connection of a
// Unix socket, belongs to the user of this process. Root is a user like any
// other. Both ends may ask. The connection stays open.
func SameUser(c net.Conn) error {
	s, ok := c.(syscall.Conn)
	if !ok {
		return fmt.Errorf("ask for the other end's user: a %T is not a socket", c)
	}
	cred, err := peer(s)
	if err != nil {
		return fmt.Errorf("ask for the other end's user: %w", err)
	}
	if own := ownUID(); int(cred.Uid) != own {
		return fmt.Errorf("the process at the other end belongs to user %d, this one to user %d", cred.Uid, own)
	}
	return nil
}

// HTTPClient returns a client whose requests all go to the server on the socket
// at path, whatever host their URL names. A server of another user gets no byte:
// the request fails. Nothing is dialled before the first request. There is no
// limit of time but the request's context; CloseIdleConnections gives the
// connections back. The client may be used at once.
func HTTPClient(path string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := Dial(ctx, path)
			if err != nil {
				return nil, err
			}
			if err := SameUser(c); err != nil {
				c.Close()
				return nil, fmt.Errorf("use the socket %q: %w", path, err)
			}
			return c, nil
		},
	}}
}
