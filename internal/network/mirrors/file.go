package mirrors

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	maxFile    = 1 << 20 // of a file, in bytes
	maxEntries = 1000    // of a directory
	maxNotes   = 200
)

// systemDirs are the directories whose files are the system's. A work tree may lie
// below any other (/srv, /workspace, /tmp).
var systemDirs = []string{"/etc/", "/usr/", "/opt/", "/snap/", "/nix/", "/var/lib/", "/home/linuxbrew/.linuxbrew/"}

// errAbsent is a file that is not there.
var errAbsent = errors.New("not there")

// reader reads one host's configuration.
type reader struct {
	root  int // descriptor of the directory that paths are looked up in
	home  string
	env   map[string]string
	mine  []netip.Addr
	found *Found
}

// note adds a line for the user, once.
func (r *reader) note(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	if len(r.found.Notes) < maxNotes && !slices.Contains(r.found.Notes, line) {
		r.found.Notes = append(r.found.Notes, line)
	}
}

// own reports whether the file at name, an absolute path without links, is the
// system's or among the user's hidden files.
func (r *reader) own(name string) bool {
	if r.home != "" && r.home != "/" {
		if below, ok := strings.CutPrefix(name, r.home+"/"); ok {
			return strings.HasPrefix(below, ".")
		}
	}
	return slices.ContainsFunc(systemDirs, func(d string) bool { return strings.HasPrefix(name, d) })
}

// open opens what is at name, links followed, without reading it. It returns the
// descriptor, which the caller closes, and the path that the links led to.
func (r *reader) open(name string, flags uint64) (fd int, real string, err error) {
	fd, err = unix.Openat2(r.root, strings.TrimPrefix(name, "/"), &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC | flags, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return -1, "", errAbsent
	}
	if err != nil {
		return -1, "", err
	}
	if real, err = r.where(fd); err == nil && !r.own(real) {
		err = fmt.Errorf("it lies in %q, which is neither the system's nor a hidden directory of the home directory", path.Dir(real))
	}
	if err != nil {
		unix.Close(fd)
		return -1, "", err
	}
	return fd, real, nil
}

// where is the path of what is open, in the directory that paths are looked up in.
func (r *reader) where(fd int) (string, error) {
	real, err := os.Readlink(procPath(fd))
	if err != nil {
		return "", err
	}
	root, err := os.Readlink(procPath(r.root))
	if err != nil || root == "/" {
		return real, err
	}
	below, ok := strings.CutPrefix(real, root)
	if !ok {
		return "", errors.New("it was moved")
	}
	return below, nil
}

func procPath(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// content returns the text of the regular file at name; errAbsent if there is none.
func (r *reader) content(name string) (string, error) {
	fd, _, err := r.open(name, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return "", err
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return "", errors.New("it is no regular file")
	case st.Size > maxFile:
		return "", fmt.Errorf("it is larger than %d bytes", maxFile)
	}
	f, err := os.OpenFile(procPath(fd), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return "", err
	case len(text) > maxFile:
		return "", fmt.Errorf("it is larger than %d bytes", maxFile)
	}
	return string(text), nil
}

// read is content with a note for a file that can't be read. It reports whether there
// is text.
func (r *reader) read(name string) (text string, ok bool) {
	if name == "" {
		return "", false
	}
	text, err := r.content(name)
	if err != nil && err != errAbsent {
		r.note("%q is not read: %v", name, plain(err))
	}
	return text, err == nil
}

// plain is an error without a path in it.
func plain(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// list returns the names in the directory at name, sorted.
func (r *reader) list(name string) []string {
	if name == "" {
		return nil
	}
	fd, _, err := r.open(name, unix.O_DIRECTORY)
	if err == errAbsent {
		return nil
	}
	if err != nil {
		r.note("%q is not read: %v", name, plain(err))
		return nil
	}
	defer unix.Close(fd)
	d, err := os.Open(procPath(fd))
	if err != nil {
		r.note("%q is not read: %v", name, plain(err))
		return nil
	}
	defer d.Close()
	names, err := d.Readdirnames(maxEntries + 1)
	if err != nil && err != io.EOF {
		r.note("%q is not read: %v", name, plain(err))
	}
	if len(names) > maxEntries {
		r.note("of %q only %d entries are read", name, maxEntries)
		names = names[:maxEntries]
	}
	slices.Sort(names)
	return names
}

// named returns the path that the variable key names, or otherwise the path in its
// stead. A path that is not absolute is relative to a directory that anybody may
// have made.
func (r *reader) named(key, otherwise string) string {
	v := r.env[key]
	switch {
	case v == "":
		return otherwise
	case !path.IsAbs(v):
		r.note("$%s is not followed: its path is not absolute", key)
		return otherwise
	}
	return path.Clean(v)
}

// inHome is a path below the home directory, "" if there is no home directory.
func (r *reader) inHome(name string) string {
	if r.home == "" {
		return ""
	}
	return path.Join(r.home, name)
}

// userConfig is a path below the user's directory for configuration.
func (r *reader) userConfig(name string) string {
	dir := r.named("XDG_CONFIG_HOME", r.inHome(".config"))
	if dir == "" {
		return ""
	}
	return path.Join(dir, name)
}

// programs returns the installations of a program in PATH, as paths without links,
// the first in PATH first. What lies in no directory of the system's or the user's is left
// out.
func (r *reader) programs(name string) (out []string) {
	for dir := range strings.SplitSeq(r.env["PATH"], ":") {
		if !path.IsAbs(dir) {
			continue
		}
		fd, real, err := r.open(path.Join(dir, name), 0)
		if err != nil {
			continue
		}
		unix.Close(fd)
		if !slices.Contains(out, real) {
			out = append(out, real)
		}
	}
	return out
}
