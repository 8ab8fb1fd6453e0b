package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"banger/internal/vmm"
)

// versionLimit bounds `qemu-system-x86_64 --version`, which takes 20 to 50 ms
// and seconds from a cold disk.
const versionLimit = 10 * time.Second

// fileID is a program file as it was when it was asked for its version.
type fileID struct {
	dev, inode uint64
	mtime      time.Time
	size       int64
}

// features is what a QEMU says of itself.
type features struct {
	version string
	sandbox bool // it was built with seccomp
}

// Probe implements vmm.Driver. A binary is asked for its version once, until
// its file changes.
func (d *Driver) Probe(ctx context.Context) vmm.Probe {
	path, err := d.find()
	if err != nil {
		return vmm.Probe{Why: err.Error()}
	}
	p := vmm.Probe{Path: path}
	f, err := d.features(ctx, path)
	if err != nil {
		p.Why = err.Error()
		return p
	}
	p.Version = f.version
	p.Usable = true
	p.Accel, p.Why = chooseAccel()
	return p
}

func (d *Driver) find() (string, error) {
	name := d.config.Binary
	if name == "" {
		name = program
	}
	path, err := exec.LookPath(name)
	if errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("%s is not in PATH (Debian: apt-get install qemu-system-x86)", name)
	}
	if err != nil {
		return "", fmt.Errorf("find QEMU: %w", err)
	}
	return filepath.Abs(path)
}

func (d *Driver) features(ctx context.Context, path string) (features, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return features{}, fmt.Errorf("look at QEMU: %w", err)
	}
	id := fileID{mtime: fi.ModTime(), size: fi.Size()}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		id.dev, id.inode = st.Dev, st.Ino
	}
	d.mu.Lock()
	known, ok := d.versions[id]
	d.mu.Unlock()
	if ok {
		return known, nil
	}
	// QEMU reads its arguments in their order, and one without seccomp refuses
	// the first before it says its version.
	v, err := askVersion(ctx, path, "-sandbox", "on", "--version")
	f := features{v, err == nil}
	if err != nil {
		if f.version, err = askVersion(ctx, path, "--version"); err != nil {
			return features{}, err
		}
	}
	d.mu.Lock()
	d.versions[id] = f
	d.mu.Unlock()
	return f, nil
}

// versionLine is the first line of --version:
// "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)".
var versionLine = regexp.MustCompile(`^QEMU emulator version ([0-9]+(?:\.[0-9]+){1,3})`)

func askVersion(ctx context.Context, path string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, versionLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = []string{}
	out := newTail(1 << 10)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("ask %s for its version: %w", path, errors.Join(ctx.Err(), err))
	}
	m := versionLine.FindStringSubmatch(out.String())
	if m == nil {
		return "", fmt.Errorf("%s --version answers %.80q, which is not QEMU's", path, out.String())
	}
	return m[1], nil
}
