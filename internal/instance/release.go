package instance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/fault"
	"banger/internal/process"
	"banger/internal/supervisor"
	"banger/internal/vm"
)

// releaseLimit is from SIGKILL to the end of a process.
const releaseLimit = 5 * time.Second

// release gives back all that a run takes of the host, and leaves the disk. It
// works after a stop, a failed start, a crash, and another release. The run's
// supervisor is gone: a VMM that outlived it has nobody who could end it well.
// The caller holds mu.
func (i *Instance) release(run vm.Run) {
	if run.VMM != nil {
		if err := fault.Do("release.vmm", func() error { return endOrphan(*run.VMM) }); err != nil {
			i.log.Error("end the VMM", "pid", run.VMM.PID, "err", err)
		}
	}
	err := fault.Do("release.sockets", func() error { return os.RemoveAll(supervisor.RunDir(i.Dir())) })
	if err != nil {
		i.log.Error("remove sockets", "err", err)
	}
}

// endOrphan waits for a process that is about to end with its parent, and kills
// it if it does not.
func endOrphan(p vm.Process) error {
	h, err := process.Open(p)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	if err != nil {
		return err
	}
	defer h.Close()
	soon, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if h.Wait(soon) == nil {
		return nil
	}
	return killAndWait(h)
}

func killAndWait(h *process.Handle) error {
	if err := h.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), releaseLimit)
	defer cancel()
	return h.Wait(ctx)
}

// signal sends sig to p; a process that is gone is no error.
func signal(p vm.Process, sig unix.Signal) error {
	h, err := process.Open(p)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	if err != nil {
		return err
	}
	defer h.Close()
	if err := h.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// force ends the run by SIGKILL: the VMM first, so that the supervisor can write
// the end down, then the supervisor. by is what the ending will say. Only kill,
// the backstop of a stop, and the undoing of a create come here.
func (i *Instance) force(ctx context.Context, by vm.Ending) error {
	i.mu.Lock()
	i.endedBy = &by
	i.mu.Unlock()
	gone := func(v View) bool { return !v.HasRun }
	for _, step := range []struct {
		point string
		who   func(View) *vm.Process
		limit time.Duration
	}{
		{"force.vmm", func(v View) *vm.Process { return first(v.Status.VMM, v.Record.Run.VMM) }, time.Second},
		{"force.supervisor", func(v View) *vm.Process { return i.supervisorOf(v) }, releaseLimit},
	} {
		p := step.who(i.View())
		if p == nil {
			continue
		}
		if err := fault.Do(step.point, func() error { return signal(*p, unix.SIGKILL) }); err != nil {
			i.log.Error("kill", "what", step.point, "pid", p.PID, "err", err)
		}
		over, cancel := context.WithTimeout(ctx, step.limit)
		_, err := i.await(over, discard, "", gone)
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
	v := i.View()
	if !v.HasRun {
		return nil
	}
	p := i.supervisorOf(v)
	if p == nil {
		return &SilentError{v.Record.Spec.Name, "its supervisor", errors.New("it is not known which process it is")}
	}
	return &SilentError{v.Record.Spec.Name, fmt.Sprintf("its supervisor (pid %d)", p.PID), errors.New("it did not end within 5 s of SIGKILL")}
}

// supervisorOf is the supervisor's process, by the record, its own word, or the
// lock that it holds; nil when it is not known.
func (i *Instance) supervisorOf(v View) *vm.Process {
	if p := v.Record.Run.Supervisor; p != nil {
		return p
	}
	if v.Status.Supervisor.PID != 0 {
		return &v.Status.Supervisor
	}
	if _, by, err := supervisor.Held(i.Dir()); err == nil {
		return by
	}
	return nil
}

func first(ps ...*vm.Process) *vm.Process {
	for _, p := range ps {
		if p != nil {
			return p
		}
	}
	return nil
}
