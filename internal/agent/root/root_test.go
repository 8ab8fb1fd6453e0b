package root

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestAwaitSize(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(disk, make([]byte, 512), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := AwaitSize(ctx, disk, 1024); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("of a disk that stays as it is: %v, want the deadline", err)
	}
	grown := make(chan error, 1)
	time.AfterFunc(20*time.Millisecond, func() { grown <- os.Truncate(disk, 2048) })
	if err := AwaitSize(t.Context(), disk, 1024); err != nil {
		t.Error(err)
	}
	select {
	case err := <-grown:
		if err != nil {
			t.Error(err)
		}
	default:
		t.Error("it returned before the disk had grown")
	}
}
