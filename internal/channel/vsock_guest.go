package channel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"

	"github.com/mdlayher/vsock"
	"golang.org/x/sys/unix"
)

// VsockGuest is a Guest over virtio-vsock.
type VsockGuest struct{}

// errNoVsock says that this machine has no vsock device.
var errNoVsock = errors.New("find a vsock device: there is none")

// OpenVsockGuest uses the machine's vsock device. The kernel's vsock can be
// there without one: it has no address then.
func OpenVsockGuest() (*VsockGuest, error) {
	if cid, err := vsock.ContextID(); err != nil || cid == unix.VMADDR_CID_ANY {
		return nil, errNoVsock
	}
	return &VsockGuest{}, nil
}

// Hello implements Guest.
func (*VsockGuest) Hello(ctx context.Context, h Hello) error {
	text, err := json.Marshal(h)
	if err != nil {
		return err
	}
	c, err := vsock.DialContext(ctx, vsock.Host, PortHello, nil)
	if err != nil {
		return fmt.Errorf("say hello: %w", err)
	}
	_, err = c.Write(text)
	return errors.Join(err, c.Close())
}

// Listen implements Guest.
func (*VsockGuest) Listen(port uint32) (net.Listener, error) {
	l, err := vsock.Listen(port, nil)
	if err != nil {
		return nil, err
	}
	return hostOnly{l}, nil
}

// Close implements Guest; listeners are closed one by one.
func (*VsockGuest) Close() error { return nil }

// hostOnly takes connections of the host alone: with vsock_loopback loaded,
// any process in the guest can connect to the guest's own ports.
type hostOnly struct{ *vsock.Listener }

func (l hostOnly) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if a, ok := c.RemoteAddr().(*vsock.Addr); ok && a.ContextID == vsock.Host {
			return c, nil
		}
		c.Close()
	}
}
