package hostconfig

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// maxRead bounds a file of the image's that is read, in bytes. A bundle of
// certificates has a quarter of a megabyte.
const maxRead = 4 << 20

// tree is a directory in which absolute paths are looked up, with no link followed.
type tree struct {
	fd     int
	looked map[string]bool // what was looked at, see look; nil to keep none
}

func openTree(dir string) (*tree, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	return &tree{fd: fd}, nil
}

func (t *tree) close() { unix.Close(t.fd) }

// open opens what is at p. A path through a link is ELOOP.
func (t *tree) open(p string, flags int) (int, error) {
	p = strings.TrimPrefix(p, "/")
	if p == "" {
		p = "."
	}
	return unix.Openat2(t.fd, p, &unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS})
}

// look keeps a path for stamp. One with a slash at its end is a directory of which nothing counts
// but that it is there.
func (t *tree) look(p string) {
	if t.looked != nil {
		t.looked[p] = true
	}
}

// read returns the text of the regular file at p.
func (t *tree) read(p string) (string, unix.Stat_t, error) {
	t.look(p)
	var st unix.Stat_t
	fd, err := t.open(p, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if errors.Is(err, unix.ELOOP) {
		return "", st, errors.New("a link leads there")
	}
	if errors.Is(err, unix.ENOTDIR) {
		return "", st, errors.New("a file is in a directory's place")
	}
	if err != nil {
		return "", st, err
	}
	f := os.NewFile(uintptr(fd), p)
	defer f.Close()
	if err := unix.Fstat(fd, &st); err != nil {
		return "", st, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return "", st, errors.New("it is no regular file")
	}
	if st.Size > maxRead {
		return "", st, fmt.Errorf("it is larger than %d bytes", maxRead)
	}
	var text strings.Builder
	text.Grow(int(st.Size))
	if _, err := io.Copy(&text, io.LimitReader(f, st.Size)); err != nil {
		return "", st, err
	}
	return text.String(), st, nil
}

// dir opens the directory of p, which it makes, with those that it is in, of mode 0755.
func (t *tree) dir(p string) (int, error) {
	dir := strings.TrimPrefix(path.Dir(p), "/")
	fd, err := t.open(dir, unix.O_PATH|unix.O_DIRECTORY)
	if !errors.Is(err, unix.ENOENT) {
		return fd, err
	}
	parent, err := t.dir(path.Dir(p))
	if err != nil {
		return -1, err
	}
	defer unix.Close(parent)
	if err := unix.Mkdirat(parent, path.Base(dir), 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
		return -1, err
	}
	return t.open(dir, unix.O_PATH|unix.O_DIRECTORY)
}

// replace is replaceParts for a text in one.
func (t *tree) replace(p, text string, mode uint32, old *unix.Stat_t) error {
	return t.replaceParts(p, []string{text}, mode, old)
}

// replaceParts writes the file at p; as it was if old is its state. A cut leaves the old
// file or the new one: ext4 writes a file's data before a rename puts it in the place
// of another (ext4(5), auto_da_alloc).
func (t *tree) replaceParts(p string, parts []string, mode uint32, old *unix.Stat_t) error {
	dir, err := t.dir(p)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	temp := "." + path.Base(p) + ".banger"
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(dir, temp, flags, 0o600)
	if errors.Is(err, unix.EEXIST) { // what a cut left
		if err := unix.Unlinkat(dir, temp, 0); err != nil {
			return err
		}
		fd, err = unix.Openat(dir, temp, flags, 0o600)
	}
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), p)
	for _, text := range parts {
		if err == nil {
			_, err = f.WriteString(text)
		}
	}
	if old != nil {
		mode = old.Mode & 0o7777
		err = errors.Join(err, unix.Fchown(fd, int(old.Uid), int(old.Gid)))
	}
	err = errors.Join(err, unix.Fchmod(fd, mode), f.Close())
	if err == nil {
		err = unix.Renameat(dir, temp, dir, path.Base(p))
	}
	if err != nil {
		unix.Unlinkat(dir, temp, 0)
	}
	return err
}

// remove removes the file or link at p.
func (t *tree) remove(p string) error {
	dir, err := t.open(path.Dir(p), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	return unix.Unlinkat(dir, path.Base(p), 0)
}

// readlink is where the link at p leads, "" if there is none.
func (t *tree) readlink(p string) string {
	t.look(p)
	dir, err := t.open(path.Dir(p), unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return ""
	}
	defer unix.Close(dir)
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, path.Base(p), buf)
	if err != nil {
		return ""
	}
	return string(buf[:n])
}

func (t *tree) symlink(target, p string) error {
	dir, err := t.dir(p)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	return unix.Symlinkat(target, dir, path.Base(p))
}

// isDir reports whether a directory is at p.
func (t *tree) isDir(p string) bool {
	t.look(p + "/")
	fd, err := t.open(p, unix.O_PATH|unix.O_DIRECTORY)
	if err == nil {
		unix.Close(fd)
	}
	return err == nil
}

// exists reports whether something is at p, a link among it.
func (t *tree) exists(p string) bool {
	fd, err := t.open(p, unix.O_PATH|unix.O_NOFOLLOW)
	if err == nil {
		unix.Close(fd)
	}
	return err == nil || errors.Is(err, unix.ELOOP)
}

// names are the names in the directory at p, at most 1,000.
func (t *tree) names(p string) []string {
	t.look(p)
	fd, err := t.open(p, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil
	}
	f := os.NewFile(uintptr(fd), p)
	defer f.Close()
	names, _ := f.Readdirnames(1000)
	return names
}
