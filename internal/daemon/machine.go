package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"banger/internal/launch"
	"banger/internal/process"
	"banger/internal/progress"
	"banger/internal/store"
	"banger/internal/supervisor"
	"banger/internal/unixsock"
	"banger/internal/vm"
)

// Limits of waiting for other processes.
const (
	adoptLimit   = 3 * time.Second  // a supervisor that lives answers at once
	releaseLimit = 5 * time.Second  // from SIGKILL to the end of a process
	stopBackstop = 45 * time.Second // beyond the supervisor's own longest grace
)

// machine is one VM. Its owner goroutine runs what is posted, one at a time;
// only it changes the record. Others read copies.
type machine struct {
	d     *Daemon
	id    vm.ID
	log   *slog.Logger
	inbox chan func()

	mu      sync.Mutex
	state   view
	changed chan struct{} // closed and replaced at every change

	run int // counts starts; owned by the owner
}

// view is a VM at one moment.
type view struct {
	rec     vm.Record
	status  supervisor.Status
	removed bool
}

// own makes the owner of a VM that has a row.
func (d *Daemon) own(rec vm.Record) *machine {
	m := &machine{
		d: d, id: rec.ID, log: slog.With("vm", rec.ID),
		inbox: make(chan func()), state: view{rec: rec}, changed: make(chan struct{}),
	}
	d.mu.Lock()
	d.machines[rec.ID] = m
	d.mu.Unlock()
	d.work.Go(func() { // ends with the VM or the daemon
		for {
			select {
			case f := <-m.inbox:
				f()
				if v, _ := m.view(); v.removed {
					return
				}
			case <-d.life.Done():
				return
			}
		}
	})
	return m
}

var errStopping = errors.New("bangerd is stopping")

// post hands f to the owner and waits until it ran.
func (m *machine) post(f func()) error {
	_, changed := m.view()
	ran := make(chan struct{})
	g := func() { f(); close(ran) }
	for {
		select {
		case m.inbox <- g:
			<-ran
			return nil
		case <-m.d.life.Done():
			return errStopping
		case <-changed:
			var v view
			if v, changed = m.view(); v.removed {
				return fmt.Errorf("%w: it was deleted", store.ErrNotFound)
			}
		}
	}
}

func (m *machine) view() (view, chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state, m.changed
}

// set changes the view; only the owner calls it.
func (m *machine) set(change func(*view)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(&m.state)
	close(m.changed)
	m.changed = make(chan struct{})
}

// await waits until done says so and passes the supervisor's words on.
func (m *machine) await(ctx context.Context, step progress.Func, stage string, done func(view) bool) (view, error) {
	var text string
	for {
		v, changed := m.view()
		if v.status.Text != text && v.status.Text != "" {
			text = v.status.Text
			step(progress.Step{Stage: stage, Text: text})
		}
		if v.removed || done(v) {
			step(progress.Step{Stage: stage, Text: text, Finished: true})
			return v, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return v, ctx.Err()
		case <-m.d.life.Done():
			return v, errStopping
		}
	}
}

// record moves the VM by event, applies change, and writes both records; only
// the owner calls it. A move that the table refuses changes nothing. The
// database is the truth: where vm.json can't be written the log says so.
func (m *machine) record(event vm.Event, change func(*vm.Record)) error {
	v, _ := m.view()
	rec := v.rec
	if event != "" {
		next, err := vm.Next(rec.State, event)
		if err != nil {
			return err
		}
		rec.State = next
	}
	if change != nil {
		change(&rec)
	}
	err := m.d.store.Save(context.WithoutCancel(m.d.life), rec)
	if err != nil {
		m.log.Error("save record", "err", err)
	}
	if err := store.WriteFile(m.d.cfg.Dirs.VM(m.id), rec); err != nil {
		m.log.Warn("write vm.json", "err", err)
	}
	if rec.State != v.rec.State {
		m.log.Info("state", "from", v.rec.State, "to", rec.State, "event", event)
	}
	m.set(func(v *view) { v.rec = rec })
	return err
}

// start records the intent, launches the supervisor and follows it. Only the
// owner calls it; s lacks what the VM's id gives.
func (m *machine) start(s supervisor.Spec, choice supervisor.Choice) error {
	m.release() // what a crash may have left
	err := m.record(vm.Start, func(r *vm.Record) {
		r.Driver, r.Version, r.Accel, r.Why = choice.Driver, choice.Found.Version, choice.Found.Accel, choice.Why
		r.Gaps = nil
		r.Ending, r.StartedAt = nil, time.Now().UTC()
	})
	if err != nil {
		return err
	}
	child, err := m.launch(s)
	if err != nil {
		m.release()
		return errors.Join(err, m.record(vm.Fail, func(r *vm.Record) {
			r.Ending = &vm.Ending{At: time.Now().UTC(), Cause: vm.CauseBoot, Detail: err.Error()}
		}))
	}
	sup := child.Process()
	m.set(func(v *view) { v.status = supervisor.Status{} })
	if err := m.record("", func(r *vm.Record) { r.Supervisor = &sup }); err != nil {
		return err
	}
	m.follow()
	return nil
}

// launch starts the supervisor with its listening socket already open, so that
// it can be dialled from the first moment.
func (m *machine) launch(s supervisor.Spec) (*launch.Child, error) {
	dirs := m.d.cfg.Dirs
	dir, runDir := dirs.VM(m.id), dirs.VMRun(m.id)
	if err := os.MkdirAll(runDir, 0o700); err != nil {
		return nil, err
	}
	text, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	if err := store.Replace(filepath.Join(dir, supervisor.SpecFile), text); err != nil {
		return nil, err
	}
	if err := os.Remove(filepath.Join(dir, supervisor.RunFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := unixsock.Listen(supervisor.SocketPath(runDir))
	if err != nil {
		return nil, err
	}
	defer l.Close()
	socket, err := l.File()
	if err != nil {
		return nil, err
	}
	defer socket.Close()
	log, err := os.OpenFile(filepath.Join(dir, supervisor.LogFile), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	return launch.Start(m.d.cfg.Program, launch.Spec{
		Path: m.d.cfg.Program, Args: []string{"supervise", dir}, Env: supervisorEnv(),
		Files: []*os.File{socket}, Stdout: log, Stderr: log,
		NewSession: true, NoNewPrivs: true,
	})
}

// supervisorEnv is all that a supervisor needs of the daemon's environment.
func supervisorEnv() []string {
	var env []string
	for _, k := range []string{"PATH", "GOCOVERDIR", "XDG_RUNTIME_DIR"} {
		if v, ok := os.LookupEnv(k); ok {
			env = append(env, k+"="+v)
		}
	}
	return env
}

// follow hears the supervisor until it ends. Only the owner calls it.
func (m *machine) follow() {
	m.run++
	run := m.run
	client := supervisor.NewClient(m.d.cfg.Dirs.VMRun(m.id))
	m.d.work.Go(func() { // ends with the supervisor or the daemon
		err := client.Events(m.d.life, func(s supervisor.Status) {
			m.post(func() {
				if m.run == run {
					m.hear(s)
				}
			})
		})
		m.post(func() {
			if m.run == run {
				m.ended(err)
			}
		})
	})
}

// hear takes the supervisor's word. Only the owner calls it.
func (m *machine) hear(s supervisor.Status) {
	v, _ := m.view()
	if s.Phase == supervisor.Ready && v.rec.State == vm.Starting {
		m.record(vm.Ready, func(r *vm.Record) { r.VMM, r.Gaps = s.VMM, s.Gaps })
	} else if s.VMM != nil && v.rec.VMM == nil {
		m.record("", func(r *vm.Record) { r.VMM, r.Gaps = s.VMM, s.Gaps })
	}
	m.set(func(v *view) { v.status = s })
}

// ended is called once a run, when its supervisor no longer answers. Only the
// owner calls it.
func (m *machine) ended(why error) {
	v, _ := m.view()
	status := v.status
	if status.Ending == nil {
		// The stream broke: the supervisor may have written the end down.
		if s, err := supervisor.ReadEnding(m.d.cfg.Dirs.VM(m.id)); err == nil && v.rec.Supervisor != nil && s.Supervisor == *v.rec.Supervisor {
			status = s
		}
	}
	ending := status.Ending
	if ending == nil {
		ending = lost(v.rec)
		m.log.Warn("supervisor is gone without a word", "err", why)
	}
	m.release()
	event := vm.Ended
	if status.Failed && v.rec.State == vm.Starting {
		event = vm.Fail
	}
	m.record(event, func(r *vm.Record) { r.Ending = ending })
	m.set(func(v *view) { v.status = supervisor.Status{} })
}

func lost(rec vm.Record) *vm.Ending {
	e := &vm.Ending{At: time.Now().UTC(), Cause: vm.CauseLost, Detail: "its supervisor is gone without a word"}
	if rec.Supervisor != nil && rec.Supervisor.BootID != process.BootID() {
		e.Cause, e.Detail = vm.CauseHostBoot, "the host was started again"
	}
	return e
}

// adopt finds the supervisor of a VM that the last daemon left running.
func (m *machine) adopt(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, adoptLimit)
	defer cancel()
	s, err := supervisor.NewClient(m.d.cfg.Dirs.VMRun(m.id)).Status(ctx)
	m.post(func() {
		if err != nil || s.ID != m.id {
			m.ended(err)
			return
		}
		m.log.Info("adopted", "phase", s.Phase, "pid", s.Supervisor.PID)
		m.record("", func(r *vm.Record) { r.Supervisor, r.VMM, r.Gaps = &s.Supervisor, s.VMM, s.Gaps })
		m.hear(s)
		m.follow()
	})
}

// release gives back all that a run takes of the host, and leaves the disk. It
// works after anything: a stop, a failed start, a crash, a release. Only the
// owner calls it.
func (m *machine) release() {
	v, _ := m.view()
	for _, p := range []*vm.Process{v.rec.Supervisor, v.rec.VMM} {
		if p == nil {
			continue
		}
		if err := endProcess(*p); err != nil {
			m.log.Error("end process", "pid", p.PID, "err", err)
		}
	}
	if err := os.RemoveAll(m.d.cfg.Dirs.VMRun(m.id)); err != nil {
		m.log.Error("remove sockets", "err", err)
	}
	if v.rec.Supervisor != nil || v.rec.VMM != nil {
		m.record("", func(r *vm.Record) { r.Supervisor, r.VMM = nil, nil })
	}
}

// endProcess waits for a process that should be about to end, and kills it
// where it is not.
func endProcess(p vm.Process) error {
	h, err := process.Open(p)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	if err != nil {
		return err
	}
	defer h.Close()
	soon, cancel := context.WithTimeout(context.Background(), releaseLimit)
	defer cancel()
	if h.Wait(soon) == nil {
		return nil
	}
	return errors.Join(killAndWait(h))
}

func killAndWait(h *process.Handle) error {
	if err := h.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), releaseLimit)
	defer cancel()
	return h.Wait(ctx)
}
