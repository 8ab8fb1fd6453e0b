package dial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
)

// Reason is why there is no connection, as far as the guest is told.
type Reason int

// The reasons. Of several addresses the first in this order counts, Other last.
const (
	Other    Reason = iota
	Refused         // the peer says that nobody listens
	Reset           // the peer or the network took the connection back
	TimedOut        // nobody answered in time
	NoRoute         // the host, or a router, knows no way
	Denied          // what is no name was to be asked of a proxy
	// ProxyRefused says that the upstream proxy answered, and will not.
	ProxyRefused
	// ProxyFailed says that the upstream proxy is down, or does not keep to its protocol.
	ProxyFailed
	// Cancelled says that the caller's context was.
	Cancelled
)

var reasons = map[Reason]string{
	Other: "failed", Refused: "refused", Reset: "reset", TimedOut: "timed out", NoRoute: "no route", Denied: "denied",
	ProxyRefused: "refused by the proxy", ProxyFailed: "the proxy failed", Cancelled: "cancelled",
}

func (r Reason) String() string {
	if s, ok := reasons[r]; ok {
		return s
	}
	return fmt.Sprintf("reason %d", int(r))
}

// Error is a connection that was not made. All errors of this package are one.
type Error struct {
	Reason Reason
	Err    error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// ReasonOf returns the reason of an error of this package, or Other.
func ReasonOf(err error) Reason {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return Other
}

// failure sorts what the kernel said. An err of ours is returned as it is.
func failure(ctx context.Context, err error) error {
	var e *Error
	if errors.As(err, &e) {
		return err
	}
	return &Error{classify(ctx, err), err}
}

func classify(ctx context.Context, err error) Reason {
	var timeout net.Error
	switch {
	case errors.Is(err, context.Canceled), errors.Is(ctx.Err(), context.Canceled):
		return Cancelled
	case errors.Is(err, syscall.ECONNREFUSED):
		return Refused
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return Reset
	case errors.Is(err, syscall.ETIMEDOUT), errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), ctx.Err() != nil,
		errors.As(err, &timeout) && timeout.Timeout():
		return TimedOut
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETDOWN),
		errors.Is(err, syscall.EHOSTDOWN), errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EAFNOSUPPORT),
		// A firewall of the host's says so (nft's reject, an unreachable route of type prohibit).
		errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return NoRoute
	}
	return Other
}
