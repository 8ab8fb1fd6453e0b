package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/disk"
	"banger/internal/hint"
	"banger/internal/image"
	"banger/internal/kernel"
	"banger/internal/paths"
	"banger/internal/store"
	"banger/internal/supervisor"
	"banger/internal/unixsock"
	"banger/internal/vm"
)

// Config is what a daemon is joined from.
type Config struct {
	Dirs    paths.Dirs
	Program string // path of bangerd itself, for the launcher and supervisors
	Agent   string // path of banger-agent, packed into initramfs images
	Drivers supervisor.Drivers
}

// ErrRunning says that another daemon owns the state directory and answers.
var ErrRunning = errors.New("bangerd is running already")

// Trash limits: the newest are kept up to both.
var trashLimits = disk.Limits{MaxBytes: 10 << 30, MaxAge: 7 * 24 * time.Hour}

// Daemon is an open daemon. Its fields do not change after Open.
type Daemon struct {
	cfg     Config
	store   *store.Store
	images  *image.Store
	kernels *kernel.Store
	trash   *disk.Trash
	started time.Time
	lock    *os.File
	listen  *net.UnixListener

	// life ends when the daemon is told to stop. Machines, followers and
	// requests are bounded by it; VMs are not.
	life context.Context
	stop context.CancelFunc
	work sync.WaitGroup // owners and followers

	mu       sync.Mutex
	machines map[vm.ID]*machine
	told     bool // that emulation is slower
}

// Open takes the state directory, opens what lies in it, adopts the VMs that
// run, and listens. ErrRunning means that another daemon does all that.
func Open(ctx context.Context, cfg Config) (_ *Daemon, err error) {
	d := &Daemon{cfg: cfg, started: time.Now(), machines: map[vm.ID]*machine{}}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	dirs := cfg.Dirs
	for _, dir := range []string{dirs.State, dirs.VMs(), dirs.Cache, dirs.Run} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, hint.Add(fmt.Errorf("make directory: %w", err), "banger doctor says which directories banger needs")
		}
	}
	if d.lock, err = lockState(dirs.Lock()); err != nil {
		return nil, err
	}
	if d.store, err = store.Open(ctx, dirs.Database()); err != nil {
		return nil, err
	}
	if d.images, err = image.Open(dirs.Images()); err != nil {
		return nil, err
	}
	if d.kernels, err = kernel.Open(dirs.Kernels()); err != nil {
		return nil, err
	}
	if d.trash, err = disk.OpenTrash(dirs.Trash(), trashLimits); err != nil {
		return nil, err
	}
	d.life, d.stop = context.WithCancel(context.WithoutCancel(ctx))
	if err := d.reconcile(ctx); err != nil {
		return nil, err
	}
	// The lock is ours, so a socket file here is a dead daemon's.
	if err := os.Remove(dirs.Socket()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if d.listen, err = unixsock.Listen(dirs.Socket()); err != nil {
		return nil, err
	}
	return d, nil
}

// lockState takes the state directory's lock, which goes with the process.
func lockState(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, hint.Add(fmt.Errorf("lock the state directory: %w", err), "make the directory writable, or set XDG_STATE_HOME to another one")
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrRunning
		}
		return nil, fmt.Errorf("lock %q: %w", path, err)
	}
	return f, nil
}

// Serve answers until Quit or ctx's end, then gives up requests under way,
// leaves all VMs running and closes everything.
func (d *Daemon) Serve(ctx context.Context) error {
	defer d.close()
	server := d.newServer()
	served := make(chan error, 1)
	go func() { served <- server.Serve(d.listen) }() // ends with Shutdown or Close
	slog.Info("serving", "socket", d.cfg.Dirs.Socket(), "vms", len(d.all()))
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	case <-d.life.Done():
	}
	// Removing the socket first: a CLI that comes now starts a new daemon,
	// which waits for nothing but the lock.
	os.Remove(d.cfg.Dirs.Socket())
	d.stop()
	over, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	if server.Shutdown(over) != nil {
		server.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Quit ends Serve.
func (d *Daemon) Quit() { d.stop() }

func (d *Daemon) close() {
	if d.stop != nil {
		d.stop()
	}
	d.work.Wait()
	if d.listen != nil {
		d.listen.Close()
	}
	if d.store != nil {
		d.store.Close()
	}
	if d.lock != nil {
		d.lock.Close()
	}
}

func (d *Daemon) all() []*machine {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]*machine, 0, len(d.machines))
	for _, m := range d.machines {
		out = append(out, m)
	}
	return out
}

// resolve finds the machine that ref names.
func (d *Daemon) resolve(ctx context.Context, ref string) (*machine, error) {
	rec, err := d.store.Resolve(ctx, ref)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	m := d.machines[rec.ID]
	if m == nil { // deleted between the two
		return nil, fmt.Errorf("%w: %q", store.ErrNotFound, ref)
	}
	return m, nil
}

// current is a record as whoever acts on the VM sees it. Its row is written a
// moment before that: a client told of it would be refused what it allows.
func (d *Daemon) current(rec vm.Record) vm.Record {
	d.mu.Lock()
	m := d.machines[rec.ID]
	d.mu.Unlock()
	if m == nil {
		return rec
	}
	v, _ := m.view()
	return v.rec
}

// reconcile makes the records true again after whatever ended the last
// daemon: running VMs are adopted, lost ones are released, half-made ones are
// removed, and directories without a row get theirs back.
func (d *Daemon) reconcile(ctx context.Context) error {
	recs, err := d.store.List(ctx)
	if err != nil {
		return err
	}
	known := map[vm.ID]bool{}
	for _, rec := range recs {
		known[rec.ID] = true
	}
	names, err := filepath.Glob(filepath.Join(d.cfg.Dirs.VMs(), "*", paths.RecordFile))
	if err != nil {
		return err
	}
	for _, name := range names {
		rec, err := store.ReadFile(filepath.Dir(name))
		if err != nil {
			slog.Warn("skip a VM's directory", "dir", filepath.Dir(name), "err", err)
			continue
		}
		if known[rec.ID] || string(rec.ID) != filepath.Base(filepath.Dir(name)) {
			continue
		}
		if err := d.store.Insert(ctx, rec); err != nil {
			slog.Warn("restore a VM's row", "vm", rec.ID, "err", err)
			continue
		}
		slog.Info("restored a VM's row from its directory", "vm", rec.ID, "name", rec.Spec.Name)
		recs = append(recs, rec)
	}
	var wg sync.WaitGroup
	for _, rec := range recs {
		wg.Go(func() { d.reconcileOne(ctx, rec) }) // bounded by adoptLimit
	}
	wg.Wait()
	return nil
}

func (d *Daemon) reconcileOne(ctx context.Context, rec vm.Record) {
	log := slog.With("vm", rec.ID, "name", rec.Spec.Name)
	if _, err := os.Stat(d.cfg.Dirs.VM(rec.ID)); rec.ImageDigest == "" || errors.Is(err, fs.ErrNotExist) {
		log.Info("remove what a cut create or delete left")
		if err := errors.Join(d.discard(rec.ID), d.store.Delete(ctx, rec.ID)); err != nil {
			log.Warn("remove a half-made VM", "err", err)
		}
		return
	}
	m := d.own(rec)
	if !rec.State.Live() {
		m.post(func() { m.release() })
	} else {
		m.adopt(ctx)
	}
	m.watchHolder()
}
