package filecopy

import (
	"archive/tar"
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"banger/internal/lease"
	"banger/internal/unpack"
)

// Options say how a stream is received.
type Options struct {
	// Dest is where it goes: into it if it is a directory that is there; else, if the
	// stream brings one item, that is its new name. "" is what the header says.
	Dest string
	// Dir is what a relative Dest is relative to.
	Dir string
	// Names are what the stream may bring, by the first part of each path; nil is anything.
	// Without them a guest that is asked for one file could send another into Dest.
	Names []string
	// Skip reports whether a name is left out, with all below it; nil skips none.
	Skip func(name string) bool
	// MaxBytes bounds what may come, with some KiB for each entry; 0 is no bound.
	MaxBytes int64
	// KeepFree ends a copy that would take the last of the file system's space: a
	// twentieth of it, at most 1 GiB, stays free.
	KeepFree bool
	// Progress hears how many bytes of how many have come; nil is nobody.
	Progress func(done, total int64)
}

// tempPrefix begins the names of the directories in which copies are made.
const tempPrefix = ".banger-cp-"

// Receive reads a stream. All of it is written beside its place first: one that is cut
// leaves nothing there; what a killed one leaves beside it, the next copy there removes.
// Then each file is renamed into its place, where it replaces a
// file of its name; directories of the same name become one. Set-id bits don't come
// along.
func Receive(ctx context.Context, in io.Reader, o Options) (Result, error) {
	r := tar.NewReader(bufio.NewReaderSize(in, 1<<20))
	h, err := readHeader(r)
	if err != nil {
		return Result{}, err
	}
	if o.Dest == "" {
		o.Dest = string(h.Dest)
	}
	parent, rename, err := place(o, h)
	if err != nil {
		return Result{}, err
	}
	lease.Sweep(parent, tempPrefix) // what a copy left that was killed, in a directory of the user's own
	temp, err := lease.New(parent, tempPrefix)
	if err != nil {
		return Result{}, err
	}
	defer temp.Close()
	c := &receiver{o: o, total: h.Bytes, temp: temp.Dir, times: map[string]time.Time{},
		bound: bound{dir: temp.Dir, max: o.MaxBytes, keep: o.KeepFree}}
	if err := c.unpack(ctx, r); err != nil {
		return c.got, err
	}
	for name := range c.tops {
		to := name
		if rename != "" {
			to = rename
		}
		if err := merge(filepath.Join(temp.Dir, name), filepath.Join(parent, to)); err != nil {
			return c.got, err
		}
	}
	return c.got, nil
}

func readHeader(r *tar.Reader) (h Header, err error) {
	e, err := r.Next()
	if err != nil {
		return h, fmt.Errorf("read the stream: %w", err)
	}
	if e.Name != headerName {
		return h, fmt.Errorf("the stream begins with %q", e.Name)
	}
	if err := json.NewDecoder(io.LimitReader(r, maxHeader)).Decode(&h); err != nil {
		return h, fmt.Errorf("read the stream's header: %w", err)
	}
	if h.Error != "" {
		return h, errors.New(h.Error)
	}
	return h, nil
}

// place is the directory that items go in, and the new name of the only one.
func place(o Options, h Header) (parent, rename string, err error) {
	dest := o.Dest
	if !filepath.IsAbs(dest) {
		dest = filepath.Join(o.Dir, dest) + map[bool]string{true: "/"}[strings.HasSuffix(dest, "/")]
	}
	fi, err := os.Stat(dest)
	switch {
	case err == nil && fi.IsDir():
		return dest, "", nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return "", "", err
	case h.Items != 1:
		return "", "", fmt.Errorf("%q is no directory, and %d items were named", o.Dest, h.Items)
	case strings.HasSuffix(dest, "/"):
		return "", "", fmt.Errorf("there is no directory %q", o.Dest)
	}
	parent = filepath.Dir(dest)
	if fi, err := os.Stat(parent); err != nil || !fi.IsDir() {
		return "", "", fmt.Errorf("there is no directory %q", filepath.Dir(o.Dest))
	}
	return parent, filepath.Base(dest), nil
}

type receiver struct {
	o     Options
	temp  string
	total int64
	got   Result
	tops  map[string]bool
	times map[string]time.Time
	bound bound
}

func (c *receiver) unpack(ctx context.Context, r *tar.Reader) error {
	d, err := unpack.Open(c.temp)
	if err != nil {
		return err
	}
	defer d.Close()
	c.tops = map[string]bool{}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return fmt.Errorf("read the stream: %w", err)
		}
		if h.Name == endName {
			break
		}
		name, found := strings.CutPrefix(h.Name, itemPrefix)
		if name = strings.TrimSuffix(name, "/"); !found {
			return fmt.Errorf("the stream has an entry %q", h.Name)
		}
		if err := unpack.CheckName(name); err != nil {
			return err
		}
		top, _, _ := strings.Cut(name, "/")
		if c.o.Names != nil && !slices.Contains(c.o.Names, top) {
			return fmt.Errorf("the stream brings %q, which was not asked for", name)
		}
		if c.skips(name) {
			continue
		}
		if err := c.entry(d, name, h, r); err != nil {
			return err
		}
		c.tops[top] = true
	}
	for name, t := range c.times { // now that nobody writes in them any more
		if err := os.Chtimes(filepath.Join(c.temp, name), t, t); err != nil {
			return err
		}
	}
	return nil
}

func (c *receiver) skips(name string) bool {
	if c.o.Skip == nil {
		return false
	}
	for part := range strings.SplitSeq(name, "/") {
		if c.o.Skip(part) {
			return true
		}
	}
	return false
}

func (c *receiver) entry(d *unpack.Dir, name string, h *tar.Header, r io.Reader) error {
	if _, sparse := h.PAXRecords["GNU.sparse.major"]; sparse {
		// It says how large its holes are, and nothing has to come for them.
		h.Typeflag = tar.TypeGNUSparse
	}
	if err := c.bound.take(entryBytes); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		c.times[name] = h.ModTime
		return d.Mkdir(name, fs.FileMode(h.Mode))
	case tar.TypeSymlink:
		c.got.Files++
		_, err := d.Link(name, h.Linkname, h.ModTime)
		return err
	case tar.TypeReg:
		c.bound.in = r
		n, _, err := d.File(unpack.File{Name: name, Perm: fs.FileMode(h.Mode), Time: h.ModTime, Holes: true}, &c.bound)
		c.got.Files++
		c.got.Bytes += n
		if c.o.Progress != nil {
			c.o.Progress(c.got.Bytes, max(c.total, c.got.Bytes))
		}
		return err
	}
	return fmt.Errorf("the stream has an entry of type %q: %q", h.Typeflag, h.Name)
}

// merge moves what is at from to to: into a directory that is there, entry by entry;
// over a file.
func merge(from, to string) error {
	fi, err := os.Lstat(from)
	if err != nil {
		return err
	}
	there, err := os.Lstat(to)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return os.Rename(from, to)
	case err != nil:
		return err
	case fi.IsDir() != there.IsDir():
		return fmt.Errorf("%q is there already, as %s", to, map[bool]string{true: "a directory", false: "a file"}[there.IsDir()])
	case !fi.IsDir():
		return os.Rename(from, to)
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := merge(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return nil
}
