package vmm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"banger/internal/vm"
)

// MaxCmdline is x86's COMMAND_LINE_SIZE without its NUL, in bytes.
const MaxCmdline = 2047

// Check refuses what no VMM can launch. It looks at nothing outside s.
func (s Spec) Check() error {
	switch {
	case vm.CheckID(string(s.ID)) != nil:
		return vm.CheckID(string(s.ID))
	case s.VCPUs < 1:
		return fmt.Errorf("%d vCPUs: a machine has at least one", s.VCPUs)
	case s.MemMiB < 1:
		return fmt.Errorf("%d MiB of memory is not a size", s.MemMiB)
	case !filepath.IsAbs(s.Kernel):
		return fmt.Errorf("kernel %q is not an absolute path", s.Kernel)
	case !filepath.IsAbs(s.Initrd):
		return fmt.Errorf("initrd %q is not an absolute path", s.Initrd)
	}
	seen := map[string]bool{}
	for _, d := range s.Disks {
		switch {
		case !filepath.IsAbs(d.Path):
			return fmt.Errorf("disk %q is not an absolute path", d.Path)
		case seen[d.Path]:
			return fmt.Errorf("disk %q: the same disk is given twice", d.Path)
		}
		seen[d.Path] = true
	}
	return nil
}

// sectorBytes is a virtio disk's unit: what is beyond the last whole one, a
// guest could not see (virtio 1.2, section 5.2).
const sectorBytes = 512

// Disks are the disks of a machine, held: the one that a machine writes is
// nobody else's, and those that it reads are nobody's to write. The holds are
// flock(2)s of this process, gone with it.
type Disks []*os.File

// HoldDisks opens each disk as the guest will have it and holds it until
// Release.
func HoldDisks(disks []Disk) (_ Disks, err error) {
	var held Disks
	defer func() {
		if err != nil {
			held.Release()
		}
	}()
	for _, d := range disks {
		f, err := holdDisk(d)
		if err != nil {
			return held, err
		}
		held = append(held, f)
	}
	return held, nil
}

func holdDisk(d Disk) (_ *os.File, err error) {
	flag, how := os.O_RDWR, unix.LOCK_EX
	if d.ReadOnly {
		flag, how = os.O_RDONLY, unix.LOCK_SH
	}
	f, err := os.OpenFile(d.Path, flag|unix.O_NONBLOCK, 0) // a pipe is no disk, and holds nobody up
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	fi, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !fi.Mode().IsRegular() && fi.Mode().Type() != os.ModeDevice:
		return nil, fmt.Errorf("disk %q is neither a file nor a block device", d.Path)
	case fi.Mode().IsRegular() && (fi.Size() == 0 || fi.Size()%sectorBytes != 0):
		return nil, fmt.Errorf("disk %q has %d bytes, which is no multiple of %d", d.Path, fi.Size(), sectorBytes)
	}
	err = unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("lock disk %q: another machine has it", d.Path)
	}
	if err != nil {
		return nil, fmt.Errorf("lock disk %q: %w", d.Path, err)
	}
	return f, nil
}

// Release gives the disks back. A second call does nothing.
func (d Disks) Release() {
	for _, f := range d {
		f.Close()
	}
}
