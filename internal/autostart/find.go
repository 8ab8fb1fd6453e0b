package autostart

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"banger/internal/hint"
)

// FindDaemon finds the bangerd that was built with this program: beside it, in
// ../libexec/banger of an installation, else in PATH.
func FindDaemon() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	dir := filepath.Dir(self)
	for _, p := range []string{filepath.Join(dir, "bangerd"), filepath.Join(dir, "..", "libexec", "banger", "bangerd")} {
		if fi, err := os.Stat(p); err == nil && fi.Mode().IsRegular() {
			return filepath.Clean(p), nil
		}
	}
	if p, err := exec.LookPath("bangerd"); err == nil {
		return p, nil
	}
	return "", hint.Add(fmt.Errorf("find bangerd beside %q: it is neither there nor in PATH", self), "make build, or install all of banger's programs together")
}
