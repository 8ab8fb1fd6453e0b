package channel

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// deviceWait is between two looks for the channel's devices: the kernel finds
// them a moment after their drivers were loaded, and tells nobody before udev
// runs.
const deviceWait = 5 * time.Millisecond

// OpenGuest opens whatever this VMM carries the channel on: two virtio-serial
// ports, or vsock. It waits for the devices until ctx ends.
func OpenGuest(ctx context.Context) (Guest, error) {
	for {
		s, serialErr := OpenSerialGuest()
		if serialErr == nil {
			return s, nil
		}
		v, vsockErr := OpenVsockGuest()
		if vsockErr == nil {
			return v, nil
		}
		select {
		case <-time.After(deviceWait):
		case <-ctx.Done():
			return nil, fmt.Errorf("open the channel to the host: %w", errors.Join(ctx.Err(), serialErr, vsockErr))
		}
	}
}
