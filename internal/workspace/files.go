package workspace

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// tree is a directory whose files are read as an attacker's: beneath it, with no
// link followed on the way, and regular files only.
type tree struct{ dir *os.File }

func openTree(path string) (*tree, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return &tree{os.NewFile(uintptr(fd), path)}, nil
}

func (t *tree) Close() error { return t.dir.Close() }

// open opens what lies at path.
func (t *tree) open(path string, flags uint64) (*os.File, error) {
	how := &unix.OpenHow{
		Flags:   flags | unix.O_CLOEXEC | unix.O_NOFOLLOW,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	for {
		fd, err := unix.Openat2(int(t.dir.Fd()), path, how)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN): // a rename came in between (openat2(2))
			continue
		case err != nil:
			return nil, &fs.PathError{Op: "open", Path: path, Err: err}
		}
		return os.NewFile(uintptr(fd), path), nil
	}
}

// stat tells what lies at path. A path beyond a link or a file is not there.
func (t *tree) stat(path string) (unix.Stat_t, error) {
	var st unix.Stat_t
	f, err := t.open(path, unix.O_PATH)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) {
		return st, &fs.PathError{Op: "stat", Path: path, Err: fs.ErrNotExist}
	} else if err != nil {
		return st, err
	}
	defer f.Close()
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return st, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return st, nil
}

// file opens a regular file. It waits for nothing: a FIFO is refused.
func (t *tree) file(path string) (*os.File, unix.Stat_t, error) {
	var st unix.Stat_t
	f, err := t.open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return nil, st, err
	}
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		f.Close()
		return nil, st, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		f.Close()
		return nil, st, fmt.Errorf("%q is %s, not a file", path, kind(st.Mode))
	}
	return f, st, nil
}

// link reads a symbolic link.
func (t *tree) link(path string) (string, unix.Stat_t, error) {
	var st unix.Stat_t
	f, err := t.open(path, unix.O_PATH)
	if err != nil {
		return "", st, err
	}
	defer f.Close()
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return "", st, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(f.Fd()), "", buf)
	if err != nil {
		return "", st, &fs.PathError{Op: "readlink", Path: path, Err: err}
	}
	return string(buf[:n]), st, nil
}

// kind names a type of file.
func kind(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return "a file"
	case unix.S_IFDIR:
		return "a directory"
	case unix.S_IFLNK:
		return "a symbolic link"
	case unix.S_IFIFO:
		return "a FIFO"
	case unix.S_IFSOCK:
		return "a socket"
	}
	return "a device"
}

// gitMode is the mode that git gives a file: 0 for what git has no mode for.
func gitMode(mode uint32, trustBit bool) uint32 {
	switch mode & unix.S_IFMT {
	case unix.S_IFLNK:
		return modeLink
	case unix.S_IFREG:
		if trustBit && mode&0o100 != 0 {
			return modeExec
		}
		return modeFile
	}
	return 0
}

// Git's modes.
const (
	modeFile    = 0o100644
	modeExec    = 0o100755
	modeLink    = 0o120000
	modeGitlink = 0o160000
)

// readSmall reads a regular file of the user's git directory, of at most limit
// bytes. One that is not there is empty. The last name may be no link.
func readSmall(path string, limit int64) ([]byte, error) {
	f, err := openRegular(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("%q is larger than %d bytes", path, limit)
	}
	return text, nil
}

func openRegular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) { // a link; a socket
		return nil, notRegular(path)
	} else if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = notRegular(path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func notRegular(path string) error { return fmt.Errorf("%q is not a regular file", path) }

// copyRegular copies a regular file into one of ours, with its time, which counts
// for an index. A source that is not there is no error, and nothing is made.
func copyRegular(to, from string) error {
	in, err := openRegular(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	defer in.Close()
	fi, err := in.Stat()
	if err != nil {
		return err
	}
	if err := writeNew(to, in, 0o600); err != nil {
		return err
	}
	return os.Chtimes(to, fi.ModTime(), fi.ModTime())
}

// writeNew writes a new file, with the directories that it needs.
func writeNew(path string, r io.Reader, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, r); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
