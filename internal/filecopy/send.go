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
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// item is something to send.
type item struct {
	name string // in the stream
	path string
	info fs.FileInfo
}

// Send writes the stream of paths, which are relative to dir. progress hears how many
// bytes have been sent; nil is nobody. The caller says in h where they go.
func Send(ctx context.Context, out io.Writer, dir string, paths []string, h Header, progress func(int64)) error {
	items, err := walk(ctx, dir, paths, &h)
	if err != nil {
		return err
	}
	b := bufio.NewWriterSize(out, 256<<10)
	w := tar.NewWriter(b)
	if err := writeHeader(w, h); err != nil {
		return err
	}
	s := &sender{w: w, buf: make([]byte, 256<<10), progress: progress}
	for _, i := range items {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := s.item(i)
		if errors.Is(err, fs.ErrNotExist) && strings.Count(i.name, "/") > 1 {
			continue // it went meanwhile; what was named must be there
		}
		if err != nil {
			return err
		}
	}
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: endName}); err != nil {
		return err
	}
	return errors.Join(w.Close(), b.Flush())
}

// Refuse writes a stream that brings nothing but why.
func Refuse(out io.Writer, why error) error {
	w := tar.NewWriter(out)
	return errors.Join(writeHeader(w, Header{Error: why.Error()}), w.Close())
}

func writeHeader(w *tar.Writer, h Header) error {
	text, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: headerName, Size: int64(len(text)), Mode: 0o600}); err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}

// Name is what a path, which may be relative to dir, is called in the stream.
func Name(dir, path string) string {
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	return filepath.Base(filepath.Clean(path))
}

// walk lists what goes into the stream, a directory before what is in it.
func walk(ctx context.Context, dir string, paths []string, h *Header) (items []item, err error) {
	seen := map[string]bool{}
	for _, p := range paths {
		named := strings.HasSuffix(p, "/") // what a link names, not the link
		base := Name(dir, p)
		if p = filepath.Clean(p); !filepath.IsAbs(p) {
			p = filepath.Join(dir, p)
		}
		if named {
			if p, err = filepath.EvalSymlinks(p); err != nil {
				return nil, err
			}
		}
		if base == "/" || p == "/" {
			return nil, fmt.Errorf("%q has no name of its own", p)
		}
		if seen[base] {
			return nil, fmt.Errorf("two of the paths are called %q", base)
		}
		seen[base] = true
		h.Items++
		err := filepath.WalkDir(p, func(path string, d fs.DirEntry, err error) error {
			if cerr := ctx.Err(); cerr != nil {
				return cerr
			}
			var info fs.FileInfo
			if err == nil {
				info, err = d.Info()
			}
			if errors.Is(err, fs.ErrNotExist) && path != p {
				return nil // it went meanwhile
			} else if err != nil {
				return err
			}
			switch info.Mode().Type() {
			case 0, fs.ModeSymlink:
				h.Files++
			case fs.ModeDir:
			default:
				return nil
			}
			if info.Mode().IsRegular() {
				h.Bytes += info.Size()
			}
			items = append(items, item{itemPrefix + base + strings.TrimPrefix(path, p), path, info})
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return items, nil
}

type sender struct {
	w        *tar.Writer
	buf      []byte
	bytes    int64
	progress func(int64)
}

func (s *sender) item(i item) error {
	h := &tar.Header{Name: i.name, Mode: int64(i.info.Mode().Perm()), ModTime: i.info.ModTime().Truncate(time.Second)}
	switch i.info.Mode().Type() {
	case fs.ModeDir:
		h.Typeflag, h.Name = tar.TypeDir, h.Name+"/"
		return s.w.WriteHeader(h)
	case fs.ModeSymlink:
		target, err := os.Readlink(i.path)
		if err != nil {
			return err
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, target
		return s.w.WriteHeader(h)
	}
	f, err := os.OpenFile(i.path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	now, err := f.Stat()
	if err != nil {
		return err
	}
	if !now.Mode().IsRegular() {
		return fmt.Errorf("%q changed while it was read", i.path)
	}
	h.Typeflag, h.Size = tar.TypeReg, now.Size()
	if err := s.w.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{s.w}, io.LimitReader(f, h.Size), s.buf)
	if err == nil && n != h.Size {
		err = fmt.Errorf("%q changed while it was read", i.path)
	}
	s.bytes += n
	if s.progress != nil {
		s.progress(s.bytes)
	}
	return err
}
