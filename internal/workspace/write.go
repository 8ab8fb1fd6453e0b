package workspace

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// parent opens the directory that path is in, and makes what is missing of it if
// create. No link is followed. The caller closes it.
func (t *tree) parent(name string, create bool) (*os.File, error) {
	dir := path.Dir(name)
	f, err := t.open(dir, unix.O_PATH|unix.O_DIRECTORY)
	if !create || !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	above, err := t.parent(dir, true)
	if err != nil {
		return nil, err
	}
	defer above.Close()
	if err := unix.Mkdirat(int(above.Fd()), path.Base(dir), 0o777); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, &fs.PathError{Op: "mkdir", Path: dir, Err: err}
	}
	return t.open(dir, unix.O_PATH|unix.O_DIRECTORY)
}

// put writes a path anew, whole or not at all: a file with the content of the file
// at content, or the link that it names. mode is git's. An existing file is
// replaced; its permissions are kept but for the executable bit. temp is the name
// that the new one has until then.
func (t *tree) put(name, content string, mode uint32, temp string) error {
	dir, err := t.parent(name, true)
	if err != nil {
		return err
	}
	defer dir.Close()
	at := int(dir.Fd())
	base := path.Base(name)
	unix.Unlinkat(at, temp, 0)
	if mode == modeLink {
		target, err := readSmall(content, unix.PathMax)
		if err != nil {
			return err
		}
		if err := unix.Symlinkat(string(target), at, temp); err != nil {
			return &fs.PathError{Op: "symlink", Path: name, Err: err}
		}
	} else if err := writeAt(at, temp, content, permissions(at, base, mode)); err != nil {
		return fmt.Errorf("write %q: %w", name, err)
	}
	err = unix.Renameat(at, temp, at, base)
	if errors.Is(err, unix.EISDIR) && t.removeEmpty(name) == nil { // git knows no empty directories
		err = unix.Renameat(at, temp, at, base)
	}
	if err != nil {
		unix.Unlinkat(at, temp, 0)
		return &fs.PathError{Op: "rename", Path: name, Err: err}
	}
	return nil
}

// removeEmpty removes a directory in which there is nothing but directories. The first
// file ends it.
func (t *tree) removeEmpty(name string) error {
	f, err := t.open(name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	names, err := f.Readdirnames(-1)
	f.Close()
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := t.removeEmpty(path.Join(name, n)); err != nil {
			return err
		}
	}
	above, err := t.parent(name, false)
	if err != nil {
		return err
	}
	defer above.Close()
	return unix.Unlinkat(int(above.Fd()), path.Base(name), unix.AT_REMOVEDIR)
}

// permissions are those that a file gets: what the one before it had, or what a new
// file has, with the executable bit that mode says.
func permissions(at int, base string, mode uint32) uint32 {
	perm := uint32(0o666)
	var st unix.Stat_t
	if unix.Fstatat(at, base, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG {
		perm = st.Mode & 0o666
	} else {
		perm &^= umask()
	}
	if mode == modeExec {
		perm |= perm >> 2 & 0o111
	}
	return perm
}

// umask is this process's, as it was at the first call.
var umask = sync.OnceValue(func() uint32 {
	text, err := os.ReadFile("/proc/self/status") // umask(2) can't ask without setting it
	if err == nil {
		for line := range strings.Lines(string(text)) {
			if v, found := strings.CutPrefix(line, "Umask:"); found {
				var n uint32
				if _, err := fmt.Sscanf(strings.TrimSpace(v), "%o", &n); err == nil {
					return n
				}
			}
		}
	}
	return 0o077
})

func writeAt(at int, name, content string, perm uint32) error {
	in, err := openRegular(content)
	if err != nil {
		return err
	}
	defer in.Close()
	fd, err := unix.Openat(at, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	if _, err := io.Copy(f, in); err != nil {
		return err
	}
	if err := f.Chmod(fs.FileMode(perm)); err != nil {
		return err
	}
	return f.Close()
}

// remove removes a file, and the directories that are empty then, as git does.
func (t *tree) remove(name string) error {
	if err := t.unlink(name); err != nil {
		return err
	}
	t.prune(name)
	return nil
}

// unlink removes a file, if it is there.
func (t *tree) unlink(name string) error {
	dir, err := t.parent(name, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Unlinkat(int(dir.Fd()), path.Base(name), 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return &fs.PathError{Op: "remove", Path: name, Err: err}
	}
	return nil
}

// clear removes what an apply that was cut left of a path beside the path itself: the
// file that it wrote first and, if nothing else is to be taken back, the directories that
// it made.
func (t *tree) clear(p pathState, taken bool) error {
	name := string(p.Path)
	err := t.unlink(path.Join(path.Dir(name), tempName))
	if err != nil && !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, unix.ELOOP) {
		return err
	}
	if p.OldMode == 0 && !taken {
		t.prune(name)
	}
	return nil
}

// prune removes the directories that name is in, as far as they are empty.
func (t *tree) prune(name string) {
	for d := path.Dir(name); d != "."; d = path.Dir(d) {
		above, err := t.parent(d, false)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return
		}
		err = unix.Unlinkat(int(above.Fd()), path.Base(d), unix.AT_REMOVEDIR)
		above.Close()
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return // something else is in it
		}
	}
}

// save copies what is at name into a file of ours: a file's content, a link's
// target. It returns git's mode; 0 and no error if nothing is there, or a directory.
func (t *tree) save(name, to string) (mode uint32, err error) {
	st, err := t.stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	} else if err != nil {
		return 0, err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return 0, nil // git knows no directories
	}
	if mode = gitMode(st.Mode, true); mode == 0 {
		return 0, fmt.Errorf("%q is %s", name, kind(st.Mode))
	}
	if mode == modeLink {
		target, _, err := t.link(name)
		if err != nil {
			return 0, err
		}
		return mode, os.WriteFile(to, []byte(target), 0o600)
	}
	f, _, err := t.file(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return mode, writeNew(to, f, 0o600)
}

// equals reports whether what is at name is a file or link with mode and the content
// of the file at content. A mode of 0 is nothing, or a directory. It writes nothing: an
// apply is taken back on a full disk, too.
func (t *tree) equals(name string, mode uint32, content string) (bool, error) {
	st, err := t.stat(name)
	none := errors.Is(err, fs.ErrNotExist) || err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
	switch {
	case none || err == nil && mode == 0:
		return none && mode == 0, nil
	case err != nil:
		return false, err
	case gitMode(st.Mode, true) != mode:
		return false, nil
	case mode == modeLink:
		target, _, err := t.link(name)
		if err != nil {
			return false, err
		}
		return sameAs(strings.NewReader(target), content)
	}
	f, _, err := t.file(name)
	if err != nil {
		return false, err
	}
	defer f.Close()
	return sameAs(f, content)
}

// sameAs reports whether what is read from a is the content of the file at b.
func sameAs(a io.Reader, b string) (bool, error) {
	fb, err := openRegular(b)
	if err != nil {
		return false, err
	}
	defer fb.Close()
	bufA, bufB := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, errA := io.ReadFull(a, bufA)
		k, errB := io.ReadFull(fb, bufB)
		if n != k || string(bufA[:n]) != string(bufB[:k]) {
			return false, nil
		}
		if errA != nil || errB != nil {
			return errors.Is(errA, io.EOF) || errors.Is(errA, io.ErrUnexpectedEOF), nil
		}
	}
}
