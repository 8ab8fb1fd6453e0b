package policy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	// settle is how long the network must stay as it is until a change counts: a VPN sets its
	// routes one after the other, and one half of a default route looks like a specific one.
	settle = time.Second
	// settleLimit bounds that, of a network that does not come to rest.
	settleLimit = 3 * time.Second
)

// Watch calls changed after each change of the routes, rules and addresses of this process's
// network, once for changes that follow each other, within three seconds. It returns at the
// end of ctx with nil, or with an error if the kernel can't be asked.
func (Kernel) Watch(ctx context.Context, changed func()) error {
	s, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE,
		unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR)
	if err != nil {
		return fmt.Errorf("watch the routes: %w", err)
	}
	defer context.AfterFunc(ctx, s.Close)()
	came, ended := make(chan struct{}, 1), make(chan error, 1)
	go func() { // ends with s, which is closed at the latest when Watch returns
		for {
			_, _, err := s.Receive()
			// Messages that were lost are a change too.
			if err != nil && !errors.Is(err, unix.ENOBUFS) {
				ended <- err
				return
			}
			select {
			case came <- struct{}{}:
			default:
			}
		}
	}()
	for {
		select {
		case err := <-ended:
			s.Close()
			if ctx.Err() != nil || errors.Is(err, os.ErrClosed) {
				return nil
			}
			return fmt.Errorf("watch the routes: %w", err)
		case <-came:
		}
		limit := time.After(settleLimit)
		for settled := false; !settled; {
			select {
			case <-came:
			case <-time.After(settle):
				settled = true
			case <-limit:
				settled = true
			case <-ctx.Done():
				settled = true
			}
		}
		if ctx.Err() == nil {
			changed()
		}
	}
}
