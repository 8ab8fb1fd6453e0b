package sshconfig

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"banger/internal/durable"
	"banger/internal/hint"
)

// mark begins the first of the two lines that are banger's in a user's configuration. Its
// end says what banger made around them.
const mark = "# banger ssh-config --uninstall removes this line and the next"

// made is what banger made that was not there before.
type made int

const (
	madeLines made = iota // in a file of the user's
	madeFile
	madeDir // and the file in it
)

// marks are the first lines, by what was made.
var marks = [...]string{madeLines: mark, madeFile: mark + ", and this file if it is empty then", madeDir: mark + ", and this file and its directory if they are empty then"}

// Line is the line that includes the configuration at path.
func Line(path string) (string, error) {
	if err := check(path); err != nil {
		return "", err
	}
	return `Include "` + path + `"`, nil
}

// add returns text with banger's lines at its top, where no Host or Match is before them,
// instead of wherever they are.
func add(text []byte, line string, m made) []byte {
	rest, was, found := remove(text)
	if found { // of two that install at once, one made the directory and the other the file
		m = max(m, was)
	}
	return append([]byte(marks[m]+"\n"+line+"\n"), rest...)
}

// remove returns text without banger's lines, whatever line ends an editor gave them.
func remove(text []byte) (rest []byte, m made, found bool) {
	after := false
	for line := range bytes.Lines(text) {
		plain := strings.TrimRight(string(line), "\r\n")
		if after {
			after = false
			if strings.HasPrefix(plain, `Include "`) {
				continue
			}
		}
		isMark := false
		for i, s := range marks {
			if plain == s {
				m, found, isMark = made(i), true, true
			}
		}
		if after = isMark; !isMark {
			rest = append(rest, line...)
		}
	}
	return rest, m, found
}

// Install puts line at the top of a user's configuration, and makes that, mode 0600, if
// there is none. All other lines stay as they are, byte for byte. changed is false if the
// line is there already.
func Install(file, line string) (changed bool, err error) {
	m := madeLines
	dir := filepath.Dir(file)
	if err := os.Mkdir(dir, 0o700); err == nil {
		m = madeDir
	} else if !errors.Is(err, fs.ErrExist) {
		return false, advise(err, file, line)
	}
	changed, err = change(file, func(text []byte, exists bool) ([]byte, bool) {
		if !exists && m == madeLines {
			m = madeFile
		}
		to := add(text, line, m)
		return to, !bytes.Equal(to, text)
	})
	return changed, advise(err, file, line)
}

// Installed reports whether a user's configuration has line, as Install puts it there or the
// user did.
func Installed(file, line string) bool {
	text, err := os.ReadFile(file)
	if err != nil {
		return false
	}
	for have := range bytes.Lines(text) {
		if strings.TrimSpace(string(have)) == line {
			return true
		}
	}
	return false
}

// Uninstall takes the line out of a user's configuration, which is then, byte for byte,
// what it was before Install, and gone if there was none. changed is false if the line is
// not there.
func Uninstall(file string) (changed bool, err error) {
	var m made
	changed, err = change(file, func(text []byte, _ bool) ([]byte, bool) {
		rest, was, found := remove(text)
		if m = was; found && m != madeLines && len(rest) == 0 {
			return nil, true
		}
		if rest == nil {
			rest = []byte{}
		}
		return rest, found
	})
	if err != nil {
		return false, hint.Add(err, fmt.Sprintf("take these lines out of %s yourself, if they are there: the one that begins %q, and the next", file, mark))
	}
	if changed && m == madeDir {
		os.Remove(filepath.Dir(file)) // it stays if anything is in it
	}
	return changed, nil
}

// advise says what to do about a configuration that can't be written.
func advise(err error, file, line string) error {
	if err == nil || hint.Of(err) != "" {
		return err
	}
	return hint.Add(err, "put this line at the top of "+file+" yourself: "+line)
}

// change replaces a file by what to makes of it, one caller after the other; nil removes
// it. A link is followed.
func change(file string, to func(text []byte, exists bool) (out []byte, changed bool)) (bool, error) {
	dir, err := os.Open(filepath.Dir(file))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer dir.Close() // and the lock with it
	for {
		if err = unix.Flock(int(dir.Fd()), unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return false, fmt.Errorf("lock %q: %w", dir.Name(), err)
	}
	real, err := filepath.EvalSymlinks(file)
	if errors.Is(err, fs.ErrNotExist) {
		out, changed := to(nil, false)
		if !changed {
			return false, nil
		}
		if _, lerr := os.Lstat(file); lerr == nil {
			return false, fmt.Errorf("%q is a link to a file that is not there", file)
		}
		return true, durable.Replace(file, out)
	}
	if err != nil {
		return false, err
	}
	fi, err := os.Stat(real)
	if err != nil {
		return false, err
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); !fi.Mode().IsRegular() || ok && int(st.Uid) != os.Geteuid() {
		return false, fmt.Errorf("%q is not a file of this user's", real)
	}
	text, err := os.ReadFile(real)
	if err != nil {
		return false, err
	}
	out, changed := to(text, true)
	switch {
	case !changed:
		return false, nil
	case out == nil:
		return true, os.Remove(real)
	}
	return true, durable.Write(real, fi.Mode().Perm(), func(w io.Writer) error {
		if f, ok := w.(*os.File); ok {
			if err := f.Chmod(fi.Mode().Perm()); err != nil { // whatever the umask is
				return err
			}
		}
		_, err := w.Write(out)
		return err
	})
}
