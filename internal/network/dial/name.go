package dial

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Name connects to one of the addresses of name, of which 16 are tried at most:
// families in turn, IPv6 first; the next address when one fails, or has not
// answered for 250 ms; the first connection wins and the others are closed
// (RFC 8305). The error tells what each address said; name is for that error only.
func (d *Dialer) Name(ctx context.Context, name string, port uint16, addrs []netip.Addr) (Conn, error) {
	ctx, cancel := d.bound(ctx)
	defer cancel()
	return race(ctx, name, port, addrs)
}

func race(ctx context.Context, name string, port uint16, addrs []netip.Addr) (Conn, error) {
	addrs = interleave(addrs)
	if len(addrs) == 0 {
		return nil, &Error{NoRoute, fmt.Errorf("connect to %q: the name has no address", name)}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		conn Conn
		err  error
	}
	results := make(chan result, len(addrs))
	started, ended := 0, 0
	start := func() {
		ap := netip.AddrPortFrom(addrs[started], port)
		started++
		go func() { // ends with its connect, which the race's end cancels; waited for below
			c, err := connect(ctx, ap)
			results <- result{c, err}
		}()
	}
	next := time.NewTimer(attemptDelay)
	defer next.Stop()
	var errs []error
	start()
	for ended < started {
		select {
		case <-next.C:
		case r := <-results:
			ended++
			if r.err == nil {
				cancel()
				for ; ended < started; ended++ {
					if late := <-results; late.err == nil {
						late.conn.Close()
					}
				}
				return r.conn, nil
			}
			errs = append(errs, r.err)
		}
		if started < len(addrs) && ctx.Err() == nil {
			start()
			next.Reset(attemptDelay)
		}
	}
	return nil, &Error{worst(errs), fmt.Errorf("connect to %q: %w", name, attempts(errs))}
}

// attempts are what each address said, on one line.
type attempts []error

func (a attempts) Error() string {
	var text []string
	for _, err := range a {
		text = append(text, err.Error())
	}
	return strings.Join(text, "; ")
}

// Unwrap lets errors.Is and errors.As see each.
func (a attempts) Unwrap() []error { return a }

// worst returns the reason of errs that tells most.
func worst(errs []error) Reason {
	best := Other
	for _, err := range errs {
		if r := ReasonOf(err); best == Other || r != Other && r < best {
			best = r
		}
	}
	return best
}

// interleave puts the families in turn, IPv6 first, each in its own order, without
// the addresses that are there twice (RFC 8305, 4).
func interleave(addrs []netip.Addr) []netip.Addr {
	var families [2][]netip.Addr
	seen := map[netip.Addr]bool{}
	for _, a := range addrs {
		a = a.Unmap()
		if !a.IsValid() || seen[a] {
			continue
		}
		seen[a] = true
		family := 0
		if a.Is4() {
			family = 1
		}
		families[family] = append(families[family], a)
	}
	var out []netip.Addr
	for i := 0; len(out) < maxAttempts && (i < len(families[0]) || i < len(families[1])); i++ {
		for _, f := range families {
			if i < len(f) && len(out) < maxAttempts {
				out = append(out, f[i])
			}
		}
	}
	return out
}
