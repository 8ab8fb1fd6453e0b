// Package image keeps base images: read-only ext4 files, shared by all VMs of
// an image and named by digest. The default one is built here from Debian's
// signed packages.
package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"banger/internal/cas"
	"banger/internal/debian"
	"banger/internal/hint"
	"banger/internal/progress"
)

// ErrNotFound says that an image is not known, or not here.
var ErrNotFound = errors.New("no such image")

// Default is the image of a VM that names none.
const Default = "debian-12"

// What a build takes on the host's disk, in MiB, with a third to spare: the
// unpacked tree with its packages, and the ext4 file.
const (
	treeMiB = 1200
	baseMiB = 1200
)

// NoteFile lies in the directory of a build, or in the one that Write gets, and names
// temporary files.
const NoteFile = "tmpdir"

// stage is the name of this package's progress.
const stage = "image"

// baseFile is an image's one file.
const baseFile = "base.ext4"

// machineDir is where a builder's machine lives meanwhile.
const machineDir = "machine"

// Image is an image that is here. Its file is never changed.
type Image struct {
	Ref       string
	Digest    string // of the file
	Path      string
	SizeBytes int64
	CreatedAt time.Time
	Source    string
	// Packages are those that were asked for beside the default image's.
	Packages []string
	// Archives are the servers from which the image's own apt gets packages, as URLs
	// without a path; nil of an image from before they were noted.
	Archives []string
	// Outdated says that the default image is one of another recipe: the next VM
	// that asks for it gets a new one.
	Outdated bool
}

type meta struct {
	CreatedAt time.Time `json:"created_at"`
	Source    string    `json:"source"`
	Recipe    string    `json:"recipe"` // see recipe
	Packages  []string  `json:"packages,omitempty"`
	Archives  []string  `json:"archives,omitempty"`
}

// outdated reports whether what is kept about the default image is not of this
// program's recipe.
func outdated(kept json.RawMessage) bool {
	var m meta
	return json.Unmarshal(kept, &m) != nil || m.Recipe != recipe(nil)
}

// Writer writes images' file systems.
type Writer struct {
	// Prepare gets what Write needs. It is called while the packages are got.
	Prepare func(ctx context.Context, step progress.Func) error
	// Write writes the entries of a tar, a file at its beginning that has its name, into a new ext4 at path,
	// and returns how many there were. dir is an empty directory for what it needs meanwhile.
	Write func(ctx context.Context, tree *os.File, path, dir string, step progress.Func) (entries int, err error)
}

// Store keeps images. Its methods may be called at once, by several processes.
type Store struct {
	cas    *cas.Store
	writer Writer
}

// Open opens the store in dir. Its images are written by w.
func Open(dir string, w Writer) (*Store, error) {
	c, err := cas.Open(dir, sweep)
	if err != nil {
		return nil, fmt.Errorf("open the images: %w", err)
	}
	return &Store{c, w}, nil
}

// sweep removes what a killed build left outside of its directory.
func sweep(tmp string) error {
	return errors.Join(debian.Sweep(filepath.Join(tmp, NoteFile)), debian.Sweep(filepath.Join(tmp, machineDir, NoteFile)))
}

// Get returns the image that ref stands for.
func (s *Store) Get(ref string) (Image, error) { return fromEntry(s.cas.Get(ref)) }

// ByDigest returns the image that a VM was made with.
func (s *Store) ByDigest(digest string) (Image, error) { return fromEntry(s.cas.ByDigest(digest)) }

// List returns all images by ref.
func (s *Store) List() ([]Image, error) {
	list, err := s.cas.List()
	if err != nil {
		return nil, err
	}
	var out []Image
	for _, e := range list {
		i, err := fromEntry(e, nil)
		if err != nil {
			return nil, err
		}
		out = append(out, i)
	}
	return out, nil
}

func fromEntry(e cas.Entry, err error) (Image, error) {
	if errors.Is(err, cas.ErrNotFound) {
		return Image{}, fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	if errors.Is(err, cas.ErrDamaged) {
		return Image{}, hint.Add(err, "banger image build")
	}
	if err != nil {
		return Image{}, err
	}
	var m meta
	if err := json.Unmarshal(e.Meta, &m); err != nil {
		return Image{}, fmt.Errorf("read the record of image %s: %w", e.Digest, err)
	}
	i := Image{Ref: e.Ref, Digest: e.Digest, Path: filepath.Join(e.Dir, baseFile), CreatedAt: m.CreatedAt, Source: m.Source,
		Packages: m.Packages, Archives: m.Archives, Outdated: e.Ref == Default && outdated(e.Meta)}
	fi, err := os.Stat(i.Path)
	if err != nil {
		return Image{}, err
	}
	i.SizeBytes = fi.Size()
	return i, nil
}

// Ensure returns the image that ref stands for. The default one is built where it
// is missing or of another recipe.
func (s *Store) Ensure(ctx context.Context, ref string, step progress.Func) (Image, error) {
	if ref == Default {
		return s.make(ctx, cas.Order{Ref: ref, Stale: outdated}, nil, step)
	}
	i, err := s.Get(ref)
	if errors.Is(err, ErrNotFound) {
		return Image{}, hint.Add(fmt.Errorf("%w: %.80q", ErrNotFound, ref), "banger image list shows what there is, banger image build --name NAME makes one")
	}
	return i, err
}

// Build builds an image anew, of the default one's packages and those that are named:
// it takes the ref over, and VMs made with the old one keep it. A ref or a package
// that can't be meant is a *NameError.
func (s *Store) Build(ctx context.Context, ref string, packages []string, step progress.Func) (Image, error) {
	packages, err := check(ref, packages)
	if err != nil {
		return Image{}, err
	}
	return s.make(ctx, cas.Order{Ref: ref, Anew: true}, packages, step)
}

// Delete removes the image that ref stands for. VMs made with it keep it.
func (s *Store) Delete(ctx context.Context, ref string) error {
	err := s.cas.Drop(ctx, ref)
	if errors.Is(err, cas.ErrNotFound) {
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return err
}

func (s *Store) make(ctx context.Context, o cas.Order, packages []string, step progress.Func) (Image, error) {
	step, stop := progress.Steady(step)
	defer stop()
	o.SpaceMiB = baseMiB
	o.Waiting = func() { step(progress.Step{Stage: stage, Text: "waiting for another build of an image"}) }
	o.Make = func(ctx context.Context, tmp string) (any, error) { return s.build(ctx, tmp, packages, step) }
	i, err := fromEntry(s.cas.Ensure(ctx, o))
	if err != nil {
		if errors.Is(err, unix.ENOSPC) && hint.Of(err) == "" {
			err = hint.Add(err, "make room where the path lies, or set XDG_CACHE_HOME to a directory with more")
		}
		return Image{}, fmt.Errorf("build image %q: %w", o.Ref, err)
	}
	step(progress.Step{Stage: stage, Text: "image " + o.Ref + " is here", Finished: true})
	return i, nil
}

func (s *Store) build(ctx context.Context, tmp string, more []string, step progress.Func) (m meta, err error) {
	step(progress.Step{Stage: stage, Text: "building the Debian 12 image"})
	tree, err := os.CreateTemp(tmp, "tree-*")
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, tree.Close(), os.Remove(tree.Name())) }() // it is no file of the image's
	prepared := s.prepare(ctx, step)
	err = debian.Tar(prepared.ctx, debian.Request{
		Variant: "apt", Include: packages, More: more, Hooks: []string{adapt}, SpaceMiB: treeMiB, Note: filepath.Join(tmp, NoteFile), Stage: stage, Step: step,
	}, func(r io.Reader) error {
		_, err := io.Copy(tree, r)
		return err
	})
	if err := prepared.wait(err); err != nil {
		return m, err
	}
	if _, err := tree.Seek(0, io.SeekStart); err != nil {
		return m, err
	}
	m.Archives, err = archives(tree)
	if err != nil {
		return m, fmt.Errorf("look for the image's archives: %w", err)
	}
	if _, err := tree.Seek(0, io.SeekStart); err != nil {
		return m, err
	}
	machine := filepath.Join(tmp, machineDir)
	if err := os.Mkdir(machine, 0o700); err != nil {
		return m, err
	}
	defer os.RemoveAll(machine)
	entries, err := s.writer.Write(ctx, tree, filepath.Join(tmp, baseFile), machine, step)
	step(progress.Step{Stage: stage, Text: "hashing the image"})
	source := fmt.Sprintf("Debian %s, %d files", debian.Suite, entries)
	if len(more) > 0 {
		source += ", with " + strings.Join(more, " ")
	}
	m.CreatedAt, m.Source, m.Recipe, m.Packages = time.Now().UTC().Truncate(time.Second), source, recipe(more), more
	return m, err
}
