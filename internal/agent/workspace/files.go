package workspace

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"banger/internal/workspace/wire"
)

// ReportFiles is Report for an image without git: it writes the files that are not as
// they went in, and the host makes the tree. What is ignored only the host can tell.
func ReportFiles(ctx context.Context, q wire.Question, home string, out io.Writer) error {
	// The walk follows no link, and the guest may have made the tree one.
	root, err := filepath.EvalSymlinks(place(q.Path, home))
	w := newFileWalk()
	if err == nil {
		w, err = walkFiles(ctx, root, q)
	}
	if err != nil {
		return wire.WriteJSON(out, wire.Report{Error: err.Error()})
	}
	b := bufio.NewWriterSize(out, 256<<10)
	if err := wire.WriteJSON(b, wire.Report{Files: true, Nested: w.nested, Links: w.links, Stats: w.digest()}); err != nil {
		return err
	}
	t := tar.NewWriter(b)
	if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: wire.PartUnchanged, Size: int64(w.unchanged.Len())}); err != nil {
		return err
	}
	if _, err := t.Write(w.unchanged.Bytes()); err != nil {
		return err
	}
	for _, name := range w.changed {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := sendFile(t, root, name); err != nil {
			return err
		}
	}
	return errors.Join(t.Close(), b.Flush())
}

// fileWalk is what a work tree has become, by its own index.
type fileWalk struct {
	unchanged     bytes.Buffer // paths, each ended by NUL
	changed       []string
	nested, links [][]byte
	stats         hash.Hash // of all names, and of the files' stat data
}

func newFileWalk() *fileWalk { return &fileWalk{stats: sha256.New()} }

// note adds a path to the digest.
func (w *fileWalk) note(name string, stat []byte) {
	fmt.Fprintf(w.stats, "%d %s %x\n", len(name), name, stat)
}

// digest is the same for as long as no file comes, goes or is written.
func (w *fileWalk) digest() string { return hex.EncodeToString(w.stats.Sum(nil)) }

func walkFiles(ctx context.Context, root string, q wire.Question) (*fileWalk, error) {
	known := readStats(filepath.Join(root, gitDir, firstIndex), q.Hash)
	w := newFileWalk()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(strings.TrimPrefix(path, root), "/")
		switch {
		case d.Name() == gitDir && name != gitDir && d.IsDir():
			w.nested = append(w.nested, []byte(filepath.Dir(name)))
			w.note(name, nil)
			return filepath.SkipDir
		case d.Name() == gitDir && d.IsDir():
			return filepath.SkipDir
		case d.Name() == gitDir: // a linked work tree's
			return nil
		case d.IsDir() && known[name].link:
			w.links = append(w.links, []byte(name))
			w.note(name, nil)
			for _, m := range q.Submodules {
				if string(m) == name {
					return filepath.SkipDir // a workspace of its own
				}
			}
			return nil
		case !d.Type().IsRegular() && d.Type() != fs.ModeSymlink:
			return nil
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); errors.Is(err, unix.ENOENT) {
			return nil
		} else if err != nil {
			return err
		}
		st.Dev = 0 // it changes with a mount
		var now [indexStatLength]byte
		putStat(now[:], &st)
		w.note(name, now[:])
		if s, found := known[name]; found && bytes.Equal(s.stat, now[:]) {
			w.unchanged.WriteString(name + "\x00")
		} else {
			w.changed = append(w.changed, name)
		}
		return nil
	})
	return w, err
}

// sendFile sends a file or a link. One that is shorter than it was ends the stream.
func sendFile(t *tar.Writer, root, name string) error {
	path := filepath.Join(root, name)
	h := &tar.Header{Name: wire.PartTree + name}
	target, err := os.Readlink(path)
	switch {
	case err == nil:
		h.Typeflag, h.Linkname = tar.TypeSymlink, target
		return t.WriteHeader(h)
	case errors.Is(err, fs.ErrNotExist):
		return nil // deleted since
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() {
		return nil
	}
	h.Typeflag, h.Size, h.Mode = tar.TypeReg, fi.Size(), int64(fi.Mode().Perm())
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	if n, err := io.CopyN(t, f, fi.Size()); err != nil {
		return fmt.Errorf("%q changed while it was read: %d of %d bytes: %w", name, n, fi.Size(), err)
	}
	return nil
}

// known is what an index says of a path.
type known struct {
	stat []byte // as putStat writes it
	link bool   // a submodule
}

// readStats reads what the index that went in says of its files. One that is not there, or
// can't be read, says nothing: every file counts as changed then.
func readStats(path, hash string) map[string]known {
	index, err := readIndex(path, hash)
	if err != nil {
		return nil
	}
	stats := map[string]known{}
	for _, e := range index.entries {
		s := known{stat: bytes.Clone(e.stat), link: e.Mode == modeGitlink}
		clear(s.stat[16:20]) // the device
		clear(s.stat[24:28]) // the mode, which putStat leaves out
		stats[string(e.Path)] = s
	}
	return stats
}
