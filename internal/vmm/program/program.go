// Package program is a VMM's program file on this host: where it lies, which
// version it says it is, and the last of what it said. It knows no VMM.
package program

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

// ErrNotFound says that PATH has no such program.
var ErrNotFound = exec.ErrNotFound

// versionLimit bounds `PROGRAM --version`, which takes 20 to 50 ms and seconds
// from a cold disk.
const versionLimit = 10 * time.Second

// Program finds a program and asks it for its version once, until its file
// changes. Its methods may be called at once.
type Program struct {
	name    string
	version *regexp.Regexp

	mu       sync.Mutex
	versions map[question]string
}

// question is a program file as it was when it was asked, and what it was asked
// with.
type question struct {
	dev, inode uint64
	mtime      time.Time
	size       int64
	args       string
}

// New returns the program called name, looked for in PATH where it is no path.
// The first submatch of version in what it prints is the version.
func New(name string, version *regexp.Regexp) *Program {
	return &Program{name: name, version: version, versions: map[question]string{}}
}

// Find returns the program's path, absolute, or an ErrNotFound.
func (p *Program) Find() (string, error) {
	path, err := exec.LookPath(p.name)
	if err != nil {
		return "", err
	}
	return filepath.Abs(path)
}

// Version asks the program at path for its version by running it with args. An
// answer is kept, an error is not.
func (p *Program) Version(ctx context.Context, path string, args ...string) (string, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	q := question{mtime: fi.ModTime(), size: fi.Size(), args: strings.Join(args, " ")}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		q.dev, q.inode = st.Dev, st.Ino
	}
	p.mu.Lock()
	known, ok := p.versions[q]
	p.mu.Unlock()
	if ok {
		return known, nil
	}
	v, err := p.ask(ctx, path, args)
	if err != nil {
		return "", err
	}
	p.mu.Lock()
	p.versions[q] = v
	p.mu.Unlock()
	return v, nil
}

func (p *Program) ask(ctx context.Context, path string, args []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, versionLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = []string{}
	out := NewTail(1 << 10)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("ask %s for its version: %w", path, errors.Join(ctx.Err(), err))
	}
	m := p.version.FindStringSubmatch(out.String())
	if m == nil {
		return "", fmt.Errorf("%s %s answers %.80q, which is not what was looked for", path, strings.Join(args, " "), out.String())
	}
	return m[1], nil
}
