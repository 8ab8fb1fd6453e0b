package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"banger/internal/vm"
)

// parseDuration reads a time as a user writes it: 90s, 15m, 8h, 1h30m, 2d.
func parseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		var n uint64
		if n, err = strconv.ParseUint(days, 10, 16); err == nil {
			d = time.Duration(n) * 24 * time.Hour // at most 65535 days, which fit
		}
	}
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%q is not a time: use s, m, h or d, as in 90m, 8h or 2d", s)
	}
	return d, nil
}

// parseTTL reads --ttl in whole seconds.
func parseTTL(t text) (int64, error) {
	d, err := parseDuration(string(t))
	if err != nil {
		return 0, fieldError("ttl", err)
	}
	n := int64((d + time.Second - 1) / time.Second)
	if n > vm.MaxTTLSeconds {
		return 0, fieldError("ttl", fmt.Errorf("%q is more than a year", string(t)))
	}
	return n, nil
}

// span is a duration in the largest units that say enough.
func span(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// left is how long is left until something ends, in two units: the larger one alone
// could take half away.
func left(d time.Duration) string {
	s := int(max(d, 0).Seconds())
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", s)
	case d < time.Hour:
		return fmt.Sprintf("%dm %ds", s/60, s%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh %dm", s/3600, s/60%60)
	}
	return fmt.Sprintf("%dd %dh", s/86400, s/3600%24)
}
