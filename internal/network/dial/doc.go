// Package dial makes a guest's connections from the host's own stack: to one
// address, to a name's addresses, through the host's upstream proxy, and pings.
//
// It judges nothing: the caller decides what may be reached. It resolves nothing but an upstream proxy's
// own name.
package dial

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// Conn is a connection whose two ways end apart.
type Conn interface {
	net.Conn
	// CloseWrite ends what is sent; the peer can still send.
	CloseWrite() error
}

// Limits of one connection.
const (
	// connectLimit is for all of it, a proxy's answer included. The guest's own
	// connect() waits for two minutes (tcp_syn_retries in tcp(7)).
	connectLimit = 30 * time.Second
	// attemptDelay is how long one address has before the next is tried beside it
	// (RFC 8305, 5).
	attemptDelay = 250 * time.Millisecond
	// maxAttempts bounds the addresses that are tried of one name.
	maxAttempts = 16
)

// keepAlive finds peers that are gone, within four minutes: the guest can't, as its
// own keep-alive is answered inside the guest.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 20 * time.Second, Count: 9}

// Dialer makes connections. The zero value limits a connection to 30 seconds. Its fields are not changed once it is in use; its methods may be
// called at once. A connection is the caller's to close.
type Dialer struct {
	// Lookup finds the addresses of a proxy; nil is net.DefaultResolver.
	Lookup func(ctx context.Context, name string) ([]netip.Addr, error)
	// Limit is for one connection; 0 is 30 seconds.
	Limit time.Duration
	// Roots are the authorities that may sign a proxy's certificate; nil is the host's.
	Roots *x509.CertPool
}

// Address connects to exactly ap. An IPv4 address mapped to IPv6 is that IPv4
// address.
func (d *Dialer) Address(ctx context.Context, ap netip.AddrPort) (Conn, error) {
	ctx, cancel := d.bound(ctx)
	defer cancel()
	return connect(ctx, ap)
}

func (d *Dialer) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	limit := d.Limit
	if limit <= 0 {
		limit = connectLimit
	}
	return context.WithTimeout(ctx, limit)
}

func connect(ctx context.Context, ap netip.AddrPort) (Conn, error) {
	ap = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	if !ap.Addr().IsValid() || ap.Port() == 0 {
		return nil, &Error{Other, errors.New("connect: there is no address")}
	}
	network := "tcp6"
	if ap.Addr().Is4() {
		network = "tcp4"
	}
	dialer := net.Dialer{KeepAliveConfig: keepAlive}
	c, err := dialer.DialContext(ctx, network, ap.String())
	if err != nil {
		return nil, failure(ctx, fmt.Errorf("connect to %s: %w", ap, cause(err)))
	}
	return c.(*net.TCPConn), nil
}

// cause is what went wrong, without net's own words around it.
func cause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}
