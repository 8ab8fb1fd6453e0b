package process

import (
	"errors"
	"os"
	"testing"
	"time"
)

func TestUsageOf(t *testing.T) {
	for end := time.Now().Add(30 * time.Millisecond); time.Now().Before(end); {
	}
	u, err := UsageOf(os.Getpid())
	if err != nil || u.RSSKiB == 0 || u.PSSKiB == 0 || u.CPU == 0 || time.Since(u.StartedAt) > time.Hour || time.Since(u.StartedAt) < 0 {
		t.Errorf("UsageOf(self) = %+v, %v", u, err)
	}
	if _, err := UsageOf(1 << 30); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("UsageOf of no process: %v", err)
	}
}
