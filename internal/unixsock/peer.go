package unixsock

import (
	"context"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Peer returns the credentials of the process at the other end, as the kernel
// noted them when the connection was made (SO_PEERCRED, unix(7)): for a server
// those of the process that connected, for a client those of the process that
// called listen.
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

// ownUID is this process's user; tests stand for another one.
var ownUID = os.Geteuid

// StrangerError says that another user's process listens on a socket. Nothing was
// sent to it. Root is a user like any other.
type StrangerError struct {
	Socket string
	UID    int
}

func (e *StrangerError) Error() string {
	return fmt.Sprintf("connect to %q: a process of uid %d listens there, and this program runs as uid %d", e.Socket, e.UID, ownUID())
}

// DialOwn is Dial to a server of this process's user; another's is a
// *StrangerError.
func DialOwn(ctx context.Context, path string) (*net.UnixConn, error) {
	c, err := Dial(ctx, path)
	if err != nil {
		return nil, err
	}
	cred, err := Peer(c)
	if err == nil && int(cred.Uid) != ownUID() {
		err = &StrangerError{path, int(cred.Uid)}
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}
