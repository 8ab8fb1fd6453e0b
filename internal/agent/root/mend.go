package root

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"banger/internal/agent/devmapper"
	"banger/internal/agent/thin"
	"banger/internal/rootdisk"
)

// ErrDamaged says that a pool's metadata are not as the kernel leaves them.
var ErrDamaged = thin.ErrDamaged

// Mended says what Open has done to a pool that was not as it should be.
type Mended struct {
	// Checked: the kernel had marked it after a write of its metadata failed. They were
	// read whole, and the mark is gone.
	Checked bool
	// Repaired: its metadata were made anew of what could be read. Lost is what could not
	// be; nothing is said of the blocks of files in it.
	Repaired bool
	Lost     []error
}

// part is the part of a disk that holds the pool's metadata.
type part struct {
	*io.SectionReader
	io.WriterAt
	f *os.File
}

func (p part) Sync() error { return p.f.Sync() }

func metadataOf(f *os.File, l rootdisk.Layout) part {
	return part{io.NewSectionReader(f, rootdisk.MetadataAt, l.MetadataBytes), io.NewOffsetWriter(f, rootdisk.MetadataAt), f}
}

// mend looks at the metadata of a pool that no kernel has open. A failed write leaves them
// as they were before it, with the kernel's mark at most: a mark on metadata that are
// whole is taken away. Damaged ones are made anew if repair is set.
func mend(m thin.File, l rootdisk.Layout, repair bool) (done Mended, err error) {
	empty, err := thin.Empty(m, l.MetadataBytes)
	if err != nil || empty { // else the kernel would take zeroes for a new pool
		return done, err
	}
	marked, bad := thin.NeedsCheck(m)
	if bad == nil && !marked && !repair {
		return done, nil
	}
	if bad == nil {
		bad = thin.Check(m, l.MetadataBytes)
	}
	switch {
	case bad == nil && marked:
		if err := thin.Unmark(m); err != nil {
			return done, err
		}
		return Mended{Checked: true}, m.Sync()
	case bad == nil:
		return done, nil
	case !repair:
		return done, bad
	}
	lost, err := thin.Repair(m, thin.Shape{
		Bytes: l.MetadataBytes, DataSectors: rootdisk.BlockBytes / sector, DataBlocks: uint64(l.DataBytes) / rootdisk.BlockBytes,
	})
	return Mended{Repaired: true, Lost: lost}, err
}

// checkPool refuses a pool that the kernel does not write: a root on it would lose what is
// written next.
func checkPool(c *devmapper.Control) error {
	status, err := c.Status(poolName)
	if err != nil || writes(status) {
		return err
	}
	return fmt.Errorf("the pool on the VM's disk is not to be written: the kernel says %q", status)
}

// writes reports whether a pool of that status takes writes of its metadata
// (Documentation/admin-guide/device-mapper/thin-provisioning.rst).
func writes(status string) bool {
	f := strings.Fields(status)
	return slices.Contains(f, "rw") && !slices.Contains(f, "needs_check")
}

// Writes reports whether the root's pool takes new blocks.
func Writes() (bool, error) {
	c, err := devmapper.Open()
	if err != nil {
		return false, err
	}
	defer c.Close()
	status, err := c.Status(poolName)
	return writes(status), err
}

// GiveUp makes the root at dir read-only although files are open in it (ext4's option
// abort): what is written now would be lost, and nobody told.
func GiveUp(dir string) error { return mount(Path, dir, always|unix.MS_REMOUNT, "abort") }

// MountImage mounts the image's own file system, read-only, at target: its disk is the
// root's origin, and nobody else may open it. It returns what undoes that.
func MountImage(image, target string) (undo func() error, err error) {
	size, err := deviceBytes(image)
	if err != nil {
		return nil, err
	}
	c, err := devmapper.Open()
	if err != nil {
		return nil, err
	}
	d, err := c.CreateReadOnly(imageName, devmapper.Target{Sectors: uint64(size) / sector, Kind: "linear", Params: image + " 0"})
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if err := unix.Mount(d.Path(), target, "ext4", unix.MS_RDONLY, "noload"); err != nil {
		return nil, errors.Join(fmt.Errorf("mount the image: %w", err), c.Remove(imageName), c.Close())
	}
	return func() error {
		return errors.Join(unix.Unmount(target, 0), c.Remove(imageName), c.Close())
	}, nil
}
