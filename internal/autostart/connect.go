// Package autostart finds the bangerd of a state directory, and starts it when
// none runs. It belongs to programs that people type: importing the API's types
// alone starts nothing.
//
// It never ends a daemon. A daemon that holds the state directory's lock and
// does not answer is named by its pid, and the user decides.
package autostart

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"banger/internal/api"
	"banger/internal/hint"
	"banger/internal/paths"
)

// NoAutostart, set to anything, keeps Connect from starting a daemon.
const NoAutostart = "BANGER_NO_AUTOSTART"

const (
	// startLimit bounds a daemon's start: it reconciles within 5 s, and before
	// that it waits up to 10 s for an earlier daemon to let go of the lock.
	startLimit = 30 * time.Second
	// pingLimit bounds a daemon's answer to the simplest question.
	pingLimit = 10 * time.Second
	// slowAfter is how long a start takes before the user is told of it.
	slowAfter = time.Second
)

// Options say whose daemon is wanted.
type Options struct {
	Dirs paths.Dirs
	// Slow is called once when a daemon's start takes longer than a second; nil
	// for no call. It runs in a goroutine of its own.
	Slow func()

	pingLimit time.Duration // 0 is the constant; tests shorten it
}

// Connect returns a client of the daemon that owns the state directory. When
// none runs, it starts the bangerd that was built with this program. ctx bounds
// the call; the daemon outlives it.
func Connect(ctx context.Context, o Options) (*api.Client, error) {
	if err := CheckOwner(o.Dirs.State); err != nil {
		return nil, err
	}
	c := api.NewClient(o.Dirs.Socket())
	err := o.ping(ctx, c)
	if errors.Is(err, api.ErrNoDaemon) {
		// Another version's daemon may listen elsewhere.
		if l, held := ReadLock(o.Dirs.Lock()); held && l.Socket != "" && l.Socket != o.Dirs.Socket() {
			if other := api.NewClient(l.Socket); o.ping(ctx, other) == nil {
				return other, nil
			}
		}
	}
	var (
		stranger *api.StrangerError
		silent   *silentError
	)
	switch {
	case err == nil:
		return c, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.As(err, &stranger), errors.As(err, &silent):
		return nil, err
	case os.Getenv(NoAutostart) != "":
		return nil, hint.Add(api.ErrNoDaemon, "unset "+NoAutostart+", or start one: bangerd serve")
	}
	if err := start(ctx, o); err != nil {
		return nil, err
	}
	return c, nil
}

// ping asks the simplest question instead of only connecting, because a daemon
// that is shutting down still has its socket. A fault counts as an answer.
func (o Options) ping(ctx context.Context, c *api.Client) error {
	limit := o.pingLimit
	if limit == 0 {
		limit = pingLimit
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	_, err := c.ShowDaemon(limited)
	var f *api.Fault
	switch {
	case errors.As(err, &f):
		return nil
	case err != nil && limited.Err() != nil && ctx.Err() == nil:
		return o.silent(limit)
	}
	return err
}

// silentError says that a daemon runs and does not answer.
type silentError struct{ text string }

func (e *silentError) Error() string { return e.text }

// silent names the daemon that does not answer by what its lock file says.
func (o Options) silent(limit time.Duration) error {
	l, held := ReadLock(o.Dirs.Lock())
	if !held || l.PID == 0 {
		return hint.Add(&silentError{fmt.Sprintf("bangerd does not answer on %q: waited for %v", o.Dirs.Socket(), limit)},
			"fuser "+o.Dirs.Socket()+" prints its pid; kill -9 PID ends it, VMs and sessions go on, and the next command starts another one")
	}
	return hint.Add(&silentError{fmt.Sprintf("bangerd does not answer: pid %d, version %.40q, waited for %v", l.PID, l.Version, limit)},
		fmt.Sprintf("try again when the host is less busy; or kill -9 %d ends that bangerd, VMs and sessions go on, and the next command starts another one", l.PID))
}
