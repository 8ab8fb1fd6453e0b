package control

import (
	"context"
	"net/http"
)

// PathClock is GET, which answers Clock, and PUT ClockSet.
const PathClock = "/v1/clock"

// Clock is what the guest's clocks say at one moment.
type Clock struct {
	BootNanos int64 `json:"boot_nanos"` // CLOCK_BOOTTIME
	UnixNano  int64 `json:"unix_nano"`  // CLOCK_REALTIME
	// Synced says that something in the guest keeps the clock by NTP (adjtimex(2)).
	Synced bool `json:"synced,omitempty"`
}

// ClockSet sets the guest's time. It names a fixed moment, so it may arrive late,
// and twice.
type ClockSet struct {
	// BootUnixNano is the time at which the guest's CLOCK_BOOTTIME was 0.
	BootUnixNano int64 `json:"boot_unix_nano"`
}

// Clock reads the guest's clocks.
func (c *Client) Clock(ctx context.Context) (Clock, error) {
	var t Clock
	return t, c.decode(ctx, http.MethodGet, PathClock, nil, &t)
}

// SetClock sets the guest's time.
func (c *Client) SetClock(ctx context.Context, s ClockSet) error {
	return c.decode(ctx, http.MethodPut, PathClock, s, nil)
}

func handleClock(mux *http.ServeMux, s Service) {
	mux.HandleFunc("GET "+PathClock, func(w http.ResponseWriter, r *http.Request) {
		t, err := s.Clock(r.Context())
		answer(w, t, err)
	})
	mux.HandleFunc("PUT "+PathClock, func(w http.ResponseWriter, r *http.Request) {
		var set ClockSet
		if read(w, r, &set) {
			answer(w, struct{}{}, s.SetClock(r.Context(), set))
		}
	})
}
