package instance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"banger/internal/ballast"
	"banger/internal/config"
	"banger/internal/disk"
	"banger/internal/durable"
	"banger/internal/fault"
	"banger/internal/hint"
	"banger/internal/image"
	"banger/internal/kernel"
	"banger/internal/paths"
	"banger/internal/store"
	"banger/internal/vm"
	"banger/internal/vmm"
)

// Config is what a Set needs of the program around it.
type Config struct {
	Dirs    paths.Dirs
	Program string // path of bangerd, for the launcher and supervisors
	Agent   string // path of banger-agent, packed into initramfs images
	Drivers vmm.Drivers
	Bounds  func() config.Bounds           // of saved and unsaved work, read anew at each call
	Network func() (config.Network, error) // of all VMs, read anew at each call
}

// trashLimits: the newest entries stay up to both.
var trashLimits = disk.Limits{MaxBytes: 10 << 30, MaxAge: 7 * 24 * time.Hour}

// Set is all VMs of one state directory. Its methods may be called at once.
// One process has a Set of a state directory: the caller holds the directory's
// lock.
type Set struct {
	cfg     Config
	store   *store.Store
	images  *image.Store
	kernels *kernel.Store
	trash   *disk.Trash

	// life ends with Close. Owners, followers and operations are bounded by it;
	// VMs are not.
	life context.Context
	stop context.CancelFunc
	work sync.WaitGroup

	mu   sync.Mutex
	vms  map[vm.ID]*Instance
	rows map[vm.ID]bool // deleted VMs whose row could not be removed yet
	told bool           // that emulation is slower

	ssh      sync.Mutex // held while files of SSH clients are written
	pinAgain bool       // known_hosts could not be written; by ssh

	memory sync.Mutex // held from a memory check until what it allowed is recorded
}

// Open opens what lies in the state directory, finds the VMs that run, takes up
// what was asked and not done, and removes what a crash left. ctx bounds the
// opening alone: its end never touches a VM.
func Open(ctx context.Context, cfg Config) (_ *Set, err error) {
	s := &Set{cfg: cfg, vms: map[vm.ID]*Instance{}, rows: map[vm.ID]bool{}}
	s.life, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	dirs := cfg.Dirs
	for _, dir := range []string{dirs.VMs(), dirs.Base(), dirs.Work(), dirs.Cache} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, closed(dirs, fmt.Errorf("make directory: %w", err))
		}
	}
	if s.store, err = store.Open(ctx, dirs.Database()); err != nil {
		return nil, err
	}
	if s.images, err = image.Open(dirs.Images(), image.Writer{Prepare: s.prepareImage, Write: s.writeImage}); err != nil {
		return nil, closed(dirs, err)
	}
	if s.kernels, err = kernel.Open(dirs.Kernels()); err != nil {
		return nil, closed(dirs, err)
	}
	if s.trash, err = disk.OpenTrash(dirs.Trash(), trashLimits); err != nil {
		return nil, err
	}
	for _, dir := range []string{dirs.State, dirs.Trash()} {
		if err := durable.Sweep(dir); err != nil {
			slog.Warn("sweep", "dir", dir, "err", err)
		}
	}
	if err := s.reconcile(ctx); err != nil {
		return nil, err
	}
	s.pinHosts()
	s.sweepWork()
	s.work.Go(s.tend) // ends with life
	return s, nil
}

// closed names the variable by which a directory was chosen that this user can't use, as
// another user's.
func closed(dirs paths.Dirs, err error) error {
	var at *fs.PathError
	if !errors.Is(err, fs.ErrPermission) || !errors.As(err, &at) {
		return err
	}
	variable := "XDG_STATE_HOME"
	if at.Path == dirs.Cache || strings.HasPrefix(at.Path, dirs.Cache+"/") {
		variable = "XDG_CACHE_HOME"
	}
	return hint.Add(fmt.Errorf("use the directory that %s names: %w", paths.From(variable), err), "make it yours, or set "+variable+" to a directory that is")
}

// Close gives up operations under way, leaves all VMs running, and closes the
// files. It waits for steps that can't be cut.
func (s *Set) Close() {
	s.stop()
	s.work.Wait()
	if s.store != nil {
		s.store.Close()
	}
}

// Images and Kernels are the stores that VMs are made from.
func (s *Set) Images() *image.Store   { return s.images }
func (s *Set) Kernels() *kernel.Store { return s.kernels }

// Trash returns the deleted VMs, the newest first.
func (s *Set) Trash() ([]disk.Entry, error) { return s.trash.List() }

// TrashBytes is what emptying the trash would free; 0 if it can't be told.
func (s *Set) TrashBytes() int64 {
	n, err := s.trash.UsedBytes()
	if err != nil {
		slog.Warn("measure the trash", "err", err)
	}
	return n
}

// EmptyTrash removes the deleted VMs that refs name for good, or, without refs,
// all but those with work that was not saved.
func (s *Set) EmptyTrash(refs ...string) (e disk.Emptied, err error) {
	err = fault.Do("trash.empty", func() (err error) {
		e, err = s.trash.Empty(refs...)
		return err
	})
	return e, err
}

// All returns all VMs, the oldest first.
func (s *Set) All() []*Instance {
	s.mu.Lock()
	out := make([]*Instance, 0, len(s.vms))
	for _, i := range s.vms {
		out = append(out, i)
	}
	s.mu.Unlock()
	slices.SortFunc(out, func(a, b *Instance) int {
		return cmp.Or(a.born.Compare(b.born), strings.Compare(string(a.id), string(b.id)))
	})
	return out
}

// Resolve finds the VM that ref names: by its name, else by its id or the
// beginning of exactly one id. The errors are ErrNotFound and *AmbiguousError.
func (s *Set) Resolve(ref string) (*Instance, error) {
	var found []*Instance
	for _, i := range s.All() {
		if i.View().Record.Spec.Name == ref {
			return i, nil
		}
		if ref != "" && strings.HasPrefix(string(i.id), ref) {
			found = append(found, i)
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("%w: %q", ErrNotFound, ref)
	case 1:
		return found[0], nil
	}
	var names []string
	for _, i := range found {
		names = append(names, i.View().Record.Spec.Name)
	}
	return nil, &AmbiguousError{ref, names}
}

// tend does each second what nobody waits for: it writes what could not be
// written, keeps the ballast, ends runs whose time is over, and bounds the
// trash and the saved work.
func (s *Set) tend() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-s.life.Done():
			return
		case <-tick.C:
		}
		for _, i := range s.All() {
			i.retry()
			i.endOverdue()
		}
		s.dropRows()
		s.pinHostsAgain()
		if n%60 == 0 {
			s.keepBallast()
			s.boundTrash()
			s.sweepWork()
		}
	}
}

// ballastFile is space that is given up first when the disk is full, so that
// stopping and deleting can be recorded.
func (s *Set) ballastFile() string { return filepath.Join(s.cfg.Dirs.State, "ballast") }

func (s *Set) keepBallast() {
	if err := ballast.Ensure(s.ballastFile()); err != nil {
		slog.Debug("keep the ballast", "err", err)
	}
}

func (s *Set) boundTrash() {
	if err := s.trash.Bound(); err != nil {
		slog.Warn("bound the trash", "err", err)
	}
}

// dropRows removes the rows of VMs that are deleted already: their names are free.
func (s *Set) dropRows() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.rows {
		if err := s.store.Delete(context.Background(), id); err == nil {
			delete(s.rows, id)
		}
	}
}

// tellOnce reports true the first time in a Set's life.
func (s *Set) tellOnce() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	told := s.told
	s.told = true
	return !told
}

// isFull reports whether err says that a file system has no room.
func isFull(err error) bool {
	return errors.Is(err, errNoSpace) || errors.Is(err, errQuota)
}
