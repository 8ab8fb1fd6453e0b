package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

type fake struct {
	got Identity
	set ClockSet
}

func (f *fake) Identity(_ context.Context, id Identity) (Ready, error) {
	f.got = id
	if id.Hostname == "damaged" {
		return Ready{}, fmt.Errorf("use the disk: %w", ErrDamaged)
	}
	if id.Hostname == "bad" {
		return Ready{}, errors.New("mount \x1b[31m failed")
	}
	return Ready{UptimeMillis: 7, Init: "/sbin/init"}, nil
}
func (f *fake) Health(context.Context) (Health, error) { return Health{Init: "systemd"}, nil }
func (f *fake) Sync(context.Context) error             { return nil }
func (f *fake) Grow(context.Context, Grow) error       { return nil }
func (f *fake) Measure(context.Context) (Measure, error) {
	return Measure{ForkExecNanos: make([]int64, 1<<20)}, nil // too large to be read
}
func (f *fake) Events(_ context.Context, each func(Event)) error {
	for range 3 {
		each(Event{OutOfMemory: &OutOfMemory{Kills: 3, Process: "perl"}})
	}
	return nil
}
func (f *fake) Clock(context.Context) (Clock, error)         { return Clock{1, 2, true}, nil }
func (f *fake) SetClock(_ context.Context, s ClockSet) error { f.set = s; return nil }
func (f *fake) End(e End, each func(EndEvent)) error {
	each(EndEvent{"asked"})
	time.Sleep(e.Grace())
	each(EndEvent{"forced"})
	return nil
}

func TestCalls(t *testing.T) {
	defer goleak.VerifyNone(t)
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{}
	served := make(chan struct{})
	go func() { Serve(l, f); close(served) }() // ends with l
	defer func() { l.Close(); <-served }()
	c := NewClient(func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	})
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r, err := c.Identity(ctx, Identity{Hostname: "a", Entropy: []byte{1, 255}})
	if err != nil || r.UptimeMillis != 7 || f.got.Hostname != "a" || string(f.got.Entropy) != "\x01\xff" {
		t.Errorf("Identity = %+v, %v (guest got %+v)", r, err, f.got)
	}
	if _, err := c.Identity(ctx, Identity{Hostname: "bad"}); err == nil || strings.Contains(err.Error(), "\x1b") || !strings.Contains(err.Error(), "mount") {
		t.Errorf("Identity's error = %q, want the guest's words, escaped", err)
	} else if errors.Is(err, ErrDamaged) {
		t.Errorf("%v is ErrDamaged", err)
	}
	if _, err := c.Identity(ctx, Identity{Hostname: "damaged"}); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "use the disk") {
		t.Errorf("of a damaged disk: %v, want ErrDamaged", err)
	}
	if h, err := c.Health(ctx); err != nil || h.Init != "systemd" {
		t.Errorf("Health = %+v, %v", h, err)
	}
	if err := c.Sync(ctx); err != nil {
		t.Errorf("Sync: %v", err)
	}
	if got, err := c.Clock(ctx); err != nil || got != (Clock{1, 2, true}) {
		t.Errorf("Clock = %+v, %v", got, err)
	}
	if err := c.SetClock(ctx, ClockSet{7}); err != nil || f.set.BootUnixNano != 7 {
		t.Errorf("SetClock: %v, the guest got %+v", err, f.set)
	}
	if _, err := c.Measure(ctx); err == nil {
		t.Error("an answer over the limit was taken")
	}
	killed := ""
	var at []time.Time
	err = c.Events(ctx, func(e Event) { killed, at = e.OutOfMemory.Process, append(at, time.Now()) })
	if err == nil || killed != "perl" || len(at) != 3 {
		t.Errorf("Events = %v and %q was killed %d times; want perl thrice, and an error, for the stream has ended", err, killed, len(at))
	} else if took := at[2].Sub(at[0]); took < 2*eventPause {
		t.Errorf("three events took %v, want %v at least, however fast they are said", took, 2*eventPause)
	}
	var stages []string
	if err := c.End(ctx, End{GraceMillis: 1}, func(e EndEvent) { stages = append(stages, e.Stage) }); err != nil || strings.Join(stages, " ") != "asked forced" {
		t.Errorf("End gave %q, %v", stages, err)
	}
}
