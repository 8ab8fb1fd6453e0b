package instance

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"banger/internal/hint"
	"banger/internal/supervisor"
	"banger/internal/vm"
)

// Network is the VM's network: of one that runs, as it is now; of another, as it will be
// at its next start. With a name it says what would become of a connection, which takes a
// VM that runs.
func (i *Instance) Network(ctx context.Context, name string, port uint16) (supervisor.NetworkState, error) {
	v := i.View()
	if v.HasRun {
		limit := answerLimit
		if name != "" {
			limit = checkLimit
		}
		var s supervisor.NetworkState
		err := i.question(ctx, limit, func(ctx context.Context, c *supervisor.Client) (err error) {
			s, err = c.Network(ctx, name, port)
			return err
		})
		return s, err
	}
	if name != "" {
		return supervisor.NetworkState{}, hint.Add(&StateError{v.Record.Spec.Name, v.Record.State, "asked about a connection"}, "banger vm start "+v.Record.Spec.Name)
	}
	n, err := i.networkOf(v.Record.Spec.Network, i.archives())
	if n == nil || err != nil {
		return supervisor.NetworkState{}, err
	}
	return supervisor.NetworkState{Policy: &n.Policy, Unknown: n.Unknown, Notes: n.Notes}, nil
}

const (
	// logPause is between two looks for more of a network's log.
	logPause = 250 * time.Millisecond
	// flushLimit bounds the wait for a supervisor that writes what it has counted.
	flushLimit = 2 * time.Second
)

// NetworkLog copies the log of the VM's network to w, and with follow what comes until
// the run's end.
func (i *Instance) NetworkLog(ctx context.Context, w io.Writer, follow bool) error {
	if i.View().HasRun { // one that does not answer has no more than its file
		ask, cancel := context.WithTimeout(ctx, flushLimit)
		supervisor.NewClient(i.Dir()).Network(ask, "", 0)
		cancel()
	}
	path := filepath.Join(i.Dir(), supervisor.NetworkLogFile)
	if err := supervisor.CopyOlderNetworkLog(w, i.Dir()); err != nil {
		return err
	}
	f, err := os.Open(path)
	for errors.Is(err, fs.ErrNotExist) && follow && i.View().HasRun && ctx.Err() == nil {
		pause(ctx, logPause)
		f, err = os.Open(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { f.Close() }()
	in := bufio.NewReader(f)
	for {
		running := i.View().HasRun // before the look: what is written at its end counts
		if _, err := io.Copy(w, in); err != nil || !follow || !running || ctx.Err() != nil {
			return cmp.Or(err, ctx.Err())
		}
		pause(ctx, logPause)
		if now, err := os.Stat(path); err == nil {
			if old, err := f.Stat(); err == nil && !os.SameFile(now, old) { // begun anew
				io.Copy(w, in)
				f.Close()
				if f, err = os.Open(path); err != nil {
					return err
				}
				in.Reset(f)
			}
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// Mode is how the VM is connected.
func Mode(n supervisor.NetworkState) string {
	if n.Policy == nil {
		return vm.NetNone
	}
	return vm.NetUser
}
