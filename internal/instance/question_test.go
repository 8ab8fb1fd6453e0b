package instance

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"banger/internal/hint"
	"banger/internal/paths"
	"banger/internal/supervisor"
	"banger/internal/unixsock"
	"banger/internal/vm"
	"banger/internal/watch"
)

// A supervisor that takes a question and does not answer is said to be silent, in time.
func TestQuestionSilent(t *testing.T) {
	i := &Instance{set: &Set{cfg: Config{Dirs: paths.Dirs{State: t.TempDir()}}}, id: vm.NewID(),
		view: watch.New(View{HasRun: true, Record: vm.Record{Spec: vm.Spec{Name: "dev"}}})}
	if err := os.MkdirAll(supervisor.RunDir(i.Dir()), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := unixsock.Listen(supervisor.SocketPath(i.Dir())) // it accepts nothing
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	began := time.Now()
	ports := func(ctx context.Context, c *supervisor.Client) error { _, err := c.Ports(ctx); return err }
	err = i.question(context.Background(), 100*time.Millisecond, ports)
	silent := (*SilentError)(nil)
	if !errors.As(err, &silent) || !strings.Contains(err.Error(), `VM "dev": its supervisor does not answer`) || !strings.Contains(hint.Of(err), "banger vm health dev") {
		t.Errorf("a supervisor that does not answer: %v (%s)", err, hint.Of(err))
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v to say so", took)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := i.question(ctx, time.Minute, ports); errors.As(err, &silent) || err == nil {
		t.Errorf("the caller has gone: %v, want no word of the supervisor", err)
	}
}
