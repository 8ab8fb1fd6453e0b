// Package kernel turns Debian's kernel package into what a guest boots from:
// the ELF vmlinux, a read-only disk of all modules, and an initramfs of the few
// that booting needs, with banger's agent as /init.
package kernel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/cas"
	"banger/internal/debian"
	"banger/internal/hint"
	"banger/internal/progress"
)

// ErrNotFound says that a kernel is not known, or not here.
var ErrNotFound = errors.New("no such kernel")

// Default is the one kernel that can be pulled by now.
const Default = "debian-12-cloud"

// packageName is Debian's own name for it.
const packageName = "linux-image-cloud-amd64"

// stage is the name of this package's progress.
const stage = "kernel"

// Files of a kernel in the store.
const (
	vmlinuxFile = "vmlinux"
	modulesFile = "modules.ext4"
	bootFile    = "modules.cpio" // the initramfs but for the agent
	initrdGlob  = "initrd-*.cpio"
)

// What a pull takes on the host's disk, in MiB, with a third to spare.
const (
	treeMiB   = 500
	kernelMiB = 350
)

// noteFile lies in the directory of a pull and names its temporary files.
const noteFile = "tmpdir"

// Kernel is a kernel that is here. Its files are never changed.
type Kernel struct {
	Ref     string
	Digest  string // of all its files
	Release string // uname -r
	Vmlinux string // path of the ELF image
	// ModulesDisk is the path of the modules' file system, read-only ext4. Its
	// root is the package's lib/modules/RELEASE with depmod's files: modules.dep
	// lies at its top.
	ModulesDisk string
	Dir         string
	SizeBytes   int64
	CreatedAt   time.Time
	Source      string
}

// format is the version of what is made of a kernel's package: which modules the
// initramfs has, and how the files are written.
const format = 3

// outdated reports whether what is kept about a kernel is of another format.
func outdated(kept json.RawMessage) bool {
	var m meta
	return json.Unmarshal(kept, &m) != nil || m.Format != format
}

type meta struct {
	Format    int       `json:"format"`
	Release   string    `json:"release"`
	CreatedAt time.Time `json:"created_at"`
	Source    string    `json:"source"`
}

// Store keeps kernels. Its methods may be called at once, by several processes.
type Store struct {
	cas    *cas.Store
	mu     sync.Mutex
	agents map[fileID]string // SHA-256 of agents that were packed
}

// Open opens the store in dir.
func Open(dir string) (*Store, error) {
	c, err := cas.Open(dir, sweep)
	if err != nil {
		return nil, fmt.Errorf("open the kernels: %w", err)
	}
	return &Store{cas: c, agents: map[fileID]string{}}, nil
}

// sweep removes what a killed pull left outside of its directory.
func sweep(tmp string) error { return debian.Sweep(filepath.Join(tmp, noteFile)) }

// Get returns the kernel that ref stands for.
func (s *Store) Get(ref string) (Kernel, error) { return fromEntry(s.cas.Get(ref)) }

// ByDigest returns the kernel that a VM was made with.
func (s *Store) ByDigest(digest string) (Kernel, error) { return fromEntry(s.cas.ByDigest(digest)) }

// List returns all kernels by ref.
func (s *Store) List() ([]Kernel, error) {
	list, err := s.cas.List()
	if err != nil {
		return nil, err
	}
	var out []Kernel
	for _, e := range list {
		k, err := fromEntry(e, nil)
		if err != nil {
			return nil, err
		}
		out = append(out, k)
	}
	return out, nil
}

func fromEntry(e cas.Entry, err error) (Kernel, error) {
	if errors.Is(err, cas.ErrNotFound) {
		return Kernel{}, fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	if errors.Is(err, cas.ErrDamaged) {
		return Kernel{}, hint.Add(err, "banger kernel pull")
	}
	if err != nil {
		return Kernel{}, err
	}
	var m meta
	if err := json.Unmarshal(e.Meta, &m); err != nil {
		return Kernel{}, fmt.Errorf("read the record of kernel %s: %w", e.Digest, err)
	}
	k := Kernel{
		Ref: e.Ref, Digest: e.Digest, Release: m.Release, Dir: e.Dir, CreatedAt: m.CreatedAt, Source: m.Source,
		Vmlinux: filepath.Join(e.Dir, vmlinuxFile), ModulesDisk: filepath.Join(e.Dir, modulesFile),
	}
	for name := range e.Files {
		if fi, err := os.Stat(filepath.Join(e.Dir, name)); err == nil {
			k.SizeBytes += fi.Size()
		}
	}
	return k, nil
}

// Ensure returns the kernel that ref stands for, pulling it where it is
// missing.
func (s *Store) Ensure(ctx context.Context, ref string, step progress.Func) (Kernel, error) {
	return s.get(ctx, ref, false, step)
}

// Pull gets the kernel anew: a newer one, where Debian has one, takes the ref
// over, and VMs made with the old one keep it.
func (s *Store) Pull(ctx context.Context, ref string, step progress.Func) (Kernel, error) {
	return s.get(ctx, ref, true, step)
}

func (s *Store) get(ctx context.Context, ref string, anew bool, step progress.Func) (Kernel, error) {
	if ref != Default {
		if k, err := s.Get(ref); err == nil && !anew {
			return k, nil
		}
		return Kernel{}, hint.Add(fmt.Errorf("%w: %.80q", ErrNotFound, ref), "banger kernel list shows what there is; "+Default+" can be pulled")
	}
	k, err := fromEntry(s.cas.Ensure(ctx, cas.Order{
		Ref: ref, Anew: anew, Stale: outdated, SpaceMiB: kernelMiB,
		Waiting: func() { step(progress.Step{Stage: stage, Text: "waiting for another pull of a kernel"}) },
		Make:    func(ctx context.Context, tmp string) (any, error) { return pull(ctx, tmp, step) },
	}))
	if err != nil {
		if errors.Is(err, unix.ENOSPC) && hint.Of(err) == "" {
			err = hint.Add(err, "make room where the path lies, or set XDG_CACHE_HOME to a directory with more")
		}
		return Kernel{}, fmt.Errorf("pull kernel %q: %w", ref, err)
	}
	step(progress.Step{Stage: stage, Text: "Linux " + k.Release + " is here", Finished: true})
	return k, nil
}
