package workspace

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxAlternates is how far git follows one repository's objects to another's (object-file.c).
const maxAlternates = 5

// refuseDevices refuses files among the objects, and among those that they borrow, that git
// would read without an end, or wait for: FIFOs and devices.
func (r *Repository) refuseDevices() error {
	return refuseDevices(filepath.Join(r.Common, "objects"), 0)
}

func refuseDevices(objects string, depth int) error {
	dirs, err := os.ReadDir(objects)
	if err != nil {
		return ignoreMissing(err)
	}
	for _, d := range dirs {
		if err := refuseDevicesIn(filepath.Join(objects, d.Name())); err != nil {
			return err
		}
	}
	f, err := os.Open(filepath.Join(objects, "info", "alternates"))
	if err != nil || depth == maxAlternates {
		return ignoreMissing(err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return err
	}
	for line := range bytes.Lines(text) {
		name := strings.TrimSuffix(string(line), "\n")
		if plain, err := strconv.Unquote(name); err == nil {
			name = plain
		}
		if name == "" || name[0] == '#' {
			continue
		}
		if !filepath.IsAbs(name) {
			name = filepath.Join(objects, name)
		}
		if err := refuseDevices(name, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func refuseDevicesIn(dir string) error {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ENOTDIR) {
		return nil // git looks for directories only
	}
	if err != nil {
		return ignoreMissing(err)
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	for _, e := range entries {
		if e.IsDir() || e.Type().IsRegular() {
			continue
		}
		name := filepath.Join(dir, e.Name())
		if fi, err := os.Stat(name); err == nil && !fi.IsDir() && !fi.Mode().IsRegular() {
			return notRegular(name)
		}
	}
	return err
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
