package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"banger/internal/channel/control"
)

// zones is where images have descriptions of time zones.
const zones = "/usr/share/zoneinfo"

// setZone gives the image at root its time zone, as timedatectl does: a link to its
// description. An image that lacks it gets the host's description itself.
func setZone(root string, z control.Zone) error {
	local := filepath.Join(root, "etc/localtime")
	if !fs.ValidPath(z.Name) || z.Name == "." {
		z.Name = ""
	}
	described := false
	if z.Name != "" {
		fi, err := os.Stat(filepath.Join(root, zones, z.Name))
		described = err == nil && fi.Mode().IsRegular()
	}
	if !described && len(z.Data) == 0 {
		return fmt.Errorf("set the time zone %q: neither the image nor the host describes it", z.Name)
	}
	if err := os.Remove(local); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !described {
		return os.WriteFile(local, z.Data, 0o644)
	}
	if err := os.Symlink(filepath.Join(zones, z.Name), local); err != nil {
		return err
	}
	// Debian keeps the name beside it.
	name := filepath.Join(root, "etc/timezone")
	if _, err := os.Lstat(name); err != nil {
		return nil
	}
	return replaceFile(name, z.Name+"\n")
}
