package instance

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"banger/internal/channel/exec"
	"banger/internal/progress"
	"banger/internal/session"
	"banger/internal/supervisor"
)

// waitSystem waits until the guest's init says that it has started its services.
// A guest without systemd has nothing to wait for, and a notice says so.
func (i *Instance) waitSystem(ctx context.Context, step progress.Func) error {
	const text = "waiting for the guest's services"
	step(progress.Step{Stage: "system", Text: text})
	state, status, err := i.systemState(ctx)
	if err := cause(ctx); err != nil {
		return err
	}
	step(progress.Step{Stage: "system", Text: text, Finished: true})
	switch {
	case err != nil:
		return fmt.Errorf("wait for the services of VM %q: %w", i.Name(), err)
	case status.ExitCode() == 127:
		step(progress.Step{Notice: "the guest has no systemctl: there are no services to wait for"})
	case state == "degraded":
		step(progress.Step{Notice: "some of the guest's services failed: banger vm exec " + i.Name() + " -- systemctl --failed"})
	case state != "running":
		step(progress.Step{Notice: fmt.Sprintf("the guest's init says that the system is %q", state)})
	}
	return nil
}

// systemState asks the guest's systemd until it has decided. It can't be asked
// before it has its bus, and calls itself "offline" then.
func (i *Instance) systemState(ctx context.Context) (string, exec.Status, error) {
	for {
		out, status, err := session.Output(ctx, supervisor.SocketPath(i.Dir()), "systemctl", "is-system-running", "--wait")
		state := strings.TrimSpace(out)
		if err != nil || status.ExitCode() == 127 || !slices.Contains([]string{"offline", "unknown", "initializing", "starting", ""}, state) {
			return state, status, err
		}
		select {
		case <-ctx.Done():
			return state, status, ctx.Err()
		case <-time.After(200 * time.Millisecond): // nothing tells when it can be asked
		}
	}
}
