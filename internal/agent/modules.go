package agent

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// modulesBelow is where the modules' disk is mounted for a moment.
const modulesBelow = "/run/banger/modules"

// mountModules mounts the kernel's modules where release's belong. The root's own
// directory there lies over the shared disk: it has the links that packages of headers
// bring, and takes modules that the guest builds. A kernel without overlayfs has the
// disk alone, read-only.
func mountModules(release string) error {
	dir := filepath.Join("/", modulesParent("/"), release)
	for _, d := range []string{dir, modulesBelow} {
		if err := makeDir(d, 0o755); err != nil {
			return err
		}
	}
	if err := mount(modulesDev, modulesBelow, "ext4", unix.MS_RDONLY|unix.MS_NOATIME, ""); err != nil {
		return err
	}
	// What overlayfs works in is beside it: further away, a new disk would be a MiB or two
	// larger.
	work := filepath.Join(filepath.Dir(dir), "."+release)
	err := makeDir(work, 0o700)
	if err == nil {
		err = mount("modules", dir, "overlay", unix.MS_NOATIME, "lowerdir="+modulesBelow+",upperdir="+dir+",workdir="+work)
	}
	if err != nil {
		say("the modules are read-only: %v", err)
		return mount(modulesBelow, dir, "", unix.MS_MOVE, "")
	}
	// The overlay has a mount of its own of it.
	if err := unix.Unmount(modulesBelow, 0); err != nil {
		return fmt.Errorf("unmount %s: %w", modulesBelow, err)
	}
	return os.Remove(modulesBelow)
}

// modulesParent is where root's image keeps modules: below /usr where /lib is
// a link into it, else in /lib.
func modulesParent(root string) string {
	if fi, err := os.Lstat(filepath.Join(root, "lib")); err == nil && fi.Mode()&os.ModeSymlink != 0 {
		return "usr/lib/modules"
	}
	return "lib/modules"
}
