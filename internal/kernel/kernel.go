// Package kernel turns Debian's kernel package into what a guest boots from:
// the ELF vmlinux, a read-only disk of all modules, and an initramfs of the few
// that booting needs, with banger's agent as /init.
package kernel

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"banger/internal/cas"
	"banger/internal/debian"
	"banger/internal/ext4"
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
	modulesFile = "modules.ext4" // its root is /lib/modules/RELEASE
	bootFile    = "modules.cpio" // the initramfs but for the agent
	initrdGlob  = "initrd-*.cpio"
)

// Kernel is a kernel that is here. Its files are never changed.
type Kernel struct {
	Ref         string
	Digest      string // of all its files
	Release     string // uname -r
	Vmlinux     string // path of the ELF image
	ModulesDisk string // path of the modules' file system
	Dir         string
	SizeBytes   int64
	CreatedAt   time.Time
	Source      string
}

type meta struct {
	Release   string    `json:"release"`
	CreatedAt time.Time `json:"created_at"`
	Source    string    `json:"source"`
}

// Store keeps kernels. Its methods may be called at once, by several processes.
type Store struct {
	cas *cas.Store
}

// Open opens the store in dir.
func Open(dir string) (*Store, error) {
	c, err := cas.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open the kernels: %w", err)
	}
	return &Store{c}, nil
}

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
	if !anew {
		if k, err := s.Get(ref); !errors.Is(err, ErrNotFound) {
			return k, err
		}
	}
	if ref != Default {
		return Kernel{}, hint.Add(fmt.Errorf("%w: %q", ErrNotFound, ref), "banger kernel list shows what there is; "+Default+" can be pulled")
	}
	k, err := fromEntry(s.cas.Ensure(ctx, ref, anew, func(ctx context.Context, tmp string) (any, error) {
		return pull(ctx, tmp, step)
	}))
	if err != nil {
		return Kernel{}, fmt.Errorf("pull kernel %q: %w", ref, err)
	}
	step(progress.Step{Stage: stage, Text: "Linux " + k.Release + " is here", Finished: true})
	return k, nil
}

// depmodHook makes modules.dep and its kin, which the package's own script
// would make when it is installed.
const depmodHook = `for d in "$1"/lib/modules/*/; do chroot "$1" depmod "$(basename "$d")"; done`

func pull(ctx context.Context, tmp string, step progress.Func) (meta, error) {
	step(progress.Step{Stage: stage, Text: "pulling Debian's cloud kernel"})
	var p parts
	err := debian.Tar(ctx, debian.Request{
		Variant: "extract", Include: []string{packageName, "kmod"}, Hooks: []string{depmodHook}, Stage: stage, Step: step,
	}, func(r io.Reader) error {
		return p.collect(ctx, r, filepath.Join(tmp, modulesFile))
	})
	if err != nil {
		return meta{}, err
	}
	step(progress.Step{Stage: stage, Text: "unpacking Linux " + p.release})
	elf, err := extractVmlinux(p.vmlinuz)
	if err != nil {
		return meta{}, err
	}
	if err := os.WriteFile(filepath.Join(tmp, vmlinuxFile), elf, 0o600); err != nil {
		return meta{}, err
	}
	if err := p.writeBootModules(filepath.Join(tmp, bootFile)); err != nil {
		return meta{}, err
	}
	return meta{Release: p.release, CreatedAt: time.Now().UTC().Truncate(time.Second),
		Source: "Debian " + debian.Suite + ", " + packageName}, nil
}

// parts are what is taken out of the package's tree.
type parts struct {
	release string
	vmlinuz []byte
	files   map[string][]byte // modules and their lists, by path below the release's directory
}

const modulesDir = "lib/modules/"

// collect reads the tree, keeps what the initramfs is made of, and writes the
// release's modules to disk, a new file, as a file system of their own.
func (p *parts) collect(ctx context.Context, r io.Reader, disk string) error {
	p.files = map[string][]byte{}
	f, err := os.OpenFile(disk, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	pr, pw := io.Pipe()
	done := make(chan error, 1)
	go func() { // ends with the pipe, which the loop's end closes
		_, err := ext4.Write(ctx, pr, f)
		pr.CloseWithError(err)
		done <- err
	}()
	out := tar.NewWriter(pw)
	err = p.sort(tar.NewReader(r), out)
	if err == nil {
		err = out.Close()
	}
	pw.CloseWithError(err)
	if werr := <-done; werr != nil && (err == nil || errors.Is(err, werr)) {
		return werr
	}
	if err == nil && (p.release == "" || p.vmlinuz == nil) {
		err = errors.New("package has no kernel or no modules")
	}
	return errors.Join(err, f.Sync())
}

func (p *parts) sort(in *tar.Reader, modules *tar.Writer) error {
	for {
		h, err := in.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		name = strings.TrimPrefix(name, "usr/") // a merged /usr
		if strings.HasPrefix(name, "boot/vmlinuz-") && h.Typeflag == tar.TypeReg {
			if p.vmlinuz, err = readBounded(in, h, maxImage); err != nil {
				return err
			}
			continue
		}
		below, ok := strings.CutPrefix(name, modulesDir)
		if !ok || below == "" {
			continue
		}
		release, file, _ := strings.Cut(below, "/")
		if p.release == "" {
			p.release = release
		}
		if release != p.release {
			return fmt.Errorf("package has modules of two kernels: %q and %q", p.release, release)
		}
		if file == "build" || file == "source" {
			continue // links to headers that are not here
		}
		var data []byte
		if h.Typeflag == tar.TypeReg {
			if data, err = readBounded(in, h, maxModule); err != nil {
				return err
			}
			p.files[file] = data
		}
		h.Name = "./" + file
		if err := modules.WriteHeader(h); err != nil {
			return err
		}
		if _, err := modules.Write(data); err != nil {
			return err
		}
	}
}

func readBounded(r io.Reader, h *tar.Header, most int64) ([]byte, error) {
	if h.Size > most {
		return nil, fmt.Errorf("%q has %d bytes: the most is %d", h.Name, h.Size, most)
	}
	b := make([]byte, h.Size)
	_, err := io.ReadFull(r, b)
	return b, err
}

// writeBootModules writes the part of the initramfs that all agents share:
// directories, /modules/NN-name.ko in the order of loading, and /modules/order.
func (p *parts) writeBootModules(name string) error {
	order, err := loadOrder(p.files["modules.dep"], p.files["modules.builtin"], bootModules)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	c := &newc{w: &b}
	for _, d := range []string{"dev", "proc", "sys", "run", "newroot", "modules"} {
		c.add(newcEntry{name: d, mode: modeDir})
	}
	c.add(newcEntry{name: "dev/console", mode: modeChar, major: 5, minor: 1})
	var list strings.Builder
	for i, file := range order {
		elf, err := unpackModule(file, p.files[file])
		if err != nil {
			return err
		}
		ko := fmt.Sprintf("%02d-%s.ko", i, moduleName(file))
		c.add(newcEntry{name: "modules/" + ko, mode: modeFile, data: elf})
		list.WriteString(ko + "\n")
	}
	c.add(newcEntry{name: "modules/order", mode: modeFile, data: []byte(list.String())})
	if err := c.close(); err != nil {
		return err
	}
	return os.WriteFile(name, b.Bytes(), 0o600)
}

// Initrd returns the path of k's initramfs with the agent at agentPath as
// /init, packing it where there is none; it is kept beside k for the next time,
// and those of other agents are dropped a week after they were made.
func (s *Store) Initrd(_ context.Context, k Kernel, agentPath string) (string, error) {
	agent, err := os.ReadFile(agentPath)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(agent)
	name := filepath.Join(k.Dir, "initrd-"+hex.EncodeToString(sum[:8])+".cpio")
	if _, err := os.Stat(name); err == nil {
		return name, nil
	}
	boot, err := os.ReadFile(filepath.Join(k.Dir, bootFile))
	if err != nil {
		return "", err
	}
	b := bytes.NewBuffer(boot)
	c := &newc{w: b}
	c.add(newcEntry{name: "init", mode: modeFile, data: agent})
	if err := c.close(); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(k.Dir, ".initrd-*")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b.Bytes())
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", fmt.Errorf("write %q: %w", name, err)
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return "", err
	}
	old, _ := filepath.Glob(filepath.Join(k.Dir, initrdGlob))
	for _, o := range old {
		if fi, err := os.Stat(o); err == nil && time.Since(fi.ModTime()) > 7*24*time.Hour {
			os.Remove(o)
		}
	}
	return name, nil
}
