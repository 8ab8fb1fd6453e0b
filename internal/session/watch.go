package session

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"banger/internal/unixsock"
)

// supervisorLimit is when a supervisor that has said nothing is called silent: five
// of its heartbeats.
const supervisorLimit = 10 * time.Second

// ErrSilent is a supervisor that takes connections and says nothing.
var ErrSilent = errors.New("its supervisor does not answer")

// Watch calls hear every few seconds with why the guest does not answer, "" if it does,
// and at once when that changes; the supervisor that listens on socket knows, one of an
// earlier version less. It returns when the supervisor says no more, or ctx ends.
func Watch(ctx context.Context, socket string, hear func(silent string)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	heard := false
	limit := time.AfterFunc(supervisorLimit, func() { cancel(ErrSilent) })
	defer limit.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://supervisor/v1/events", nil)
	if err != nil {
		return err
	}
	req.Header.Set(Header, strconv.Itoa(Protocol))
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return unixsock.DialOwn(ctx, socket)
	}}}
	resp, err := client.Do(req)
	if err == nil {
		defer resp.Body.Close()
		for in := json.NewDecoder(resp.Body); err == nil; {
			var s struct {
				Held   string `json:"held"`
				Silent string `json:"silent"`
			}
			if err = in.Decode(&s); err == nil {
				heard = true
				limit.Reset(supervisorLimit)
				hear(cmp.Or(s.Held, s.Silent))
			}
		}
	}
	if errors.Is(context.Cause(ctx), ErrSilent) && !heard { // else it may be this process that stood still
		return ErrSilent
	}
	return fmt.Errorf("follow the supervisor: %w", err)
}
