package testhost

import (
	"archive/tar"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Hand is what a run hands in: files and trees of this machine by the name
// that they get below Handed. Links are kept as links; of a name that is a
// link here, what it points to is taken.
type Hand map[string]string

// disk makes the disk that Hand comes on, a tar in a file without a name: it ends with
// the last process that has it open. All in it is the user's, but for ssh, which is the
// daemon's.
func (h Hand) disk(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "handed-*")
	if err != nil {
		return nil, err
	}
	t := tar.NewWriter(f)
	if err := errors.Join(os.Remove(f.Name()), h.pack(t), t.Close()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (h Hand) pack(t *tar.Writer) error {
	// Directories above what is handed in, each once and first.
	var above []string
	for name := range h {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			above = append(above, dir)
		}
	}
	slices.Sort(above)
	for _, dir := range append([]string{"."}, slices.Compact(above)...) {
		if _, ok := h[dir]; ok {
			continue
		}
		if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755, Uid: owner(dir), Gid: owner(dir)}); err != nil {
			return err
		}
	}
	names := make([]string, 0, len(h))
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		from, err := filepath.EvalSymlinks(h[name])
		if err != nil {
			return err
		}
		if err := packTree(t, name, from); err != nil {
			return err
		}
	}
	return nil
}

// owner is root for what sshd reads and the directory above it: sshd refuses
// keys that another user could change.
func owner(name string) int {
	if name == "." || name == "ssh" || strings.HasPrefix(name, "ssh/") {
		return 0
	}
	return uid
}

func packTree(t *tar.Writer, name, from string) error {
	return filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		link := ""
		switch {
		case fi.Mode()&fs.ModeSymlink != 0:
			if link, err = os.Readlink(p); err != nil {
				return err
			}
		case !fi.Mode().IsRegular() && !fi.IsDir():
			return nil // sockets, pipes
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		hd, err := tar.FileInfoHeader(fi, link)
		if err != nil {
			return err
		}
		hd.Name = path.Join(name, filepath.ToSlash(rel))
		if fi.IsDir() {
			hd.Name += "/"
		}
		hd.Uid, hd.Gid, hd.Uname, hd.Gname = owner(name), owner(name), "", ""
		if err := t.WriteHeader(hd); err != nil || !fi.Mode().IsRegular() {
			return err
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(t, f)
		return err
	})
}
