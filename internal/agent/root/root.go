// Package root makes the guest's root: one writable file system of the size that the
// user asked for, a thin device of device-mapper on the VM's own disk whose external
// origin is the image. Both sides' layout is package banger/internal/rootdisk.
package root

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"banger/internal/agent/devmapper"
	"banger/internal/agent/thin"
	"banger/internal/rootdisk"
)

// Names of the devices that are made.
const (
	metadataName = "banger-metadata"
	dataName     = "banger-data"
	poolName     = "banger-pool"
	rootName     = "banger-root"
	imageName    = "banger-image" // for a repair only
)

// rootID is the root's number in the pool.
const rootID = 0

const sector = 512

// Path is the node of the root's device, as udev would name it.
const Path = "/dev/mapper/" + rootName

// Open makes the root's device, at Path, of the VM's disk and the image's. A disk of
// zeroes becomes a pool; one that carries something else is an error, and is left as it
// is. So is a pool whose metadata are damaged (ErrDamaged), unless repair is set.
func Open(disk, image string, repair bool) (Mended, error) {
	base, err := readSuperblock(image)
	if err != nil {
		return Mended{}, fmt.Errorf("read the image's file system: %w", err)
	}
	f, err := os.OpenFile(disk, os.O_RDWR, 0)
	if err != nil {
		return Mended{}, err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return Mended{}, err
	}
	fresh, done := false, Mended{}
	l, err := rootdisk.OfFile(size)
	if err == nil {
		fresh, err = check(f, l, base)
	}
	if err == nil && !fresh {
		done, err = mend(metadataOf(f, l), l, repair)
	}
	if err != nil {
		return done, fmt.Errorf("use the VM's disk: %w", err)
	}
	c, err := devmapper.Open()
	if err != nil {
		return done, err
	}
	defer c.Close()
	d, err := assemble(c, disk, image, l, fresh)
	if err == nil {
		err = checkPool(c)
	}
	if err != nil {
		if bad := thin.Check(metadataOf(f, l), l.MetadataBytes); errors.Is(bad, ErrDamaged) {
			err = fmt.Errorf("use the VM's disk: %w (the kernel says: %w)", bad, err)
		}
		return done, err
	}
	return done, os.Symlink(d.Path(), Path)
}

// check looks whether a disk is for this image. It makes a new one's header, and reports
// that it is new.
func check(f *os.File, l rootdisk.Layout, base superblock) (fresh bool, err error) {
	head := make([]byte, rootdisk.HeaderBytes)
	if _, err := f.ReadAt(head, 0); err != nil {
		return false, err
	}
	h, err := rootdisk.Decode(head)
	if errors.Is(err, rootdisk.ErrNone) {
		if err := checkNew(f, l); err != nil {
			return false, err
		}
		h = rootdisk.Header{BlockBytes: rootdisk.BlockBytes, Image: base.uuid(), ImageBytes: base.bytes()}
		text, err := h.Encode()
		if err != nil {
			return false, err
		}
		if _, err := f.WriteAt(text, 0); err != nil {
			return false, err
		}
		return true, f.Sync()
	}
	if err != nil {
		return false, err
	}
	if h.Image != base.uuid() || h.ImageBytes != base.bytes() {
		return false, fmt.Errorf("it stands on the image %s of %d bytes, and this one is %s of %d", h.Image, h.ImageBytes, base.uuid(), base.bytes())
	}
	return false, nil
}

// checkNew refuses a disk that has something where this program would write first.
func checkNew(f *os.File, l rootdisk.Layout) error {
	if s, err := superblockAt(f); err == nil {
		return fmt.Errorf("it holds an ext4 file system (%s), as an older version of banger made it, and is left as it is", s.uuid())
	}
	buf := make([]byte, 1<<20)
	zero := make([]byte, len(buf))
	for at := int64(0); at < rootdisk.MetadataAt+l.MetadataBytes; at += int64(len(buf)) {
		if _, err := f.ReadAt(buf, at); err != nil {
			return err
		}
		if !bytes.Equal(buf, zero) {
			return fmt.Errorf("it holds something within its first %d bytes that this program did not write, and is left as it is", at+int64(len(buf)))
		}
	}
	return nil
}

// assemble makes the pool and the root's device. The kernel makes a pool's metadata where
// it finds zeroes, so that a first boot that was cut goes on.
func assemble(c *devmapper.Control, disk, image string, l rootdisk.Layout, fresh bool) (d devmapper.Device, err error) {
	var made []string
	defer func() {
		for n := len(made) - 1; n >= 0 && err != nil; n-- {
			c.Remove(made[n])
		}
	}()
	create := func(name string, t devmapper.Target) (devmapper.Device, error) {
		d, err := c.Create(name, t)
		if err == nil {
			made = append(made, name)
		}
		return d, err
	}
	metadata, data := parts(disk, l)
	if _, err := create(metadataName, metadata); err != nil {
		return d, err
	}
	if _, err := create(dataName, data); err != nil {
		return d, err
	}
	pool, err := poolTarget(c, l)
	if err != nil {
		return d, err
	}
	if _, err := create(poolName, pool); err != nil {
		return d, err
	}
	root, err := rootTarget(c, image, l)
	if err != nil {
		return d, err
	}
	if !fresh { // the kernel complains on the console of one that is made a second time
		if d, err = create(rootName, root); err == nil {
			return d, nil
		} // the first boot may have been cut before
	}
	if err := c.Message(poolName, fmt.Sprintf("create_thin %d", rootID)); err != nil && !errors.Is(err, unix.EEXIST) {
		return d, err
	}
	return create(rootName, root)
}

// parts are the two parts of the disk that make the pool.
func parts(disk string, l rootdisk.Layout) (metadata, data devmapper.Target) {
	linear := func(at, size int64) devmapper.Target {
		return devmapper.Target{Sectors: uint64(size) / sector, Kind: "linear", Params: fmt.Sprintf("%s %d", disk, at/sector)}
	}
	return linear(rootdisk.MetadataAt, l.MetadataBytes), linear(rootdisk.DataAt, l.DataBytes)
}

func poolTarget(c *devmapper.Control, l rootdisk.Layout) (t devmapper.Target, err error) {
	metadata, err := c.Find(metadataName)
	if err != nil {
		return t, err
	}
	data, err := c.Find(dataName)
	return devmapper.Target{
		Sectors: uint64(l.DataBytes) / sector, Kind: "thin-pool",
		Params: fmt.Sprintf("%s %s %d 0 1 skip_block_zeroing", metadata.Number(), data.Number(), rootdisk.BlockBytes/sector),
	}, err
}

func rootTarget(c *devmapper.Control, image string, l rootdisk.Layout) (t devmapper.Target, err error) {
	pool, err := c.Find(poolName)
	return devmapper.Target{Sectors: uint64(l.DataBytes) / sector, Kind: "thin", Params: fmt.Sprintf("%s %d %s", pool.Number(), rootID, image)}, err
}

// AwaitSize returns when the disk has so many bytes. The guest's kernel asks the VMM for a
// disk's size some time after the interrupt that says it has changed.
func AwaitSize(ctx context.Context, disk string, bytes int64) error {
	for {
		size, err := deviceBytes(disk)
		if err != nil || size >= bytes {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the guest's kernel still gives the disk %d bytes, it has %d: %w", size, bytes, context.Cause(ctx))
		case <-time.After(sizePause):
		}
	}
}

const sizePause = 5 * time.Millisecond

// Grow makes pool, root and the file system mounted at dir as large as the disk is now.
func Grow(disk, image, dir string) error {
	size, err := deviceBytes(disk)
	if err != nil {
		return err
	}
	l, err := rootdisk.OfFile(size)
	if err != nil {
		return fmt.Errorf("use the VM's disk: %w", err)
	}
	c, err := devmapper.Open()
	if err != nil {
		return err
	}
	defer c.Close()
	if err := extend(c, disk, image, l); err != nil {
		return err
	}
	s, err := readSuperblock(Path)
	if err != nil {
		return err
	}
	return grow(Path, dir, uint64(l.DataBytes)/s.blockBytes())
}

// extend gives the devices their new sizes. The pool is held first, and the root with it:
// what is beneath must not change under a request.
func extend(c *devmapper.Control, disk, image string, l rootdisk.Layout) (err error) {
	if err := c.Suspend(poolName); err != nil {
		return err
	}
	defer func() {
		if err != nil { // with whatever table it has: a root that is held for ever is worse
			err = errors.Join(err, c.Resume(poolName))
		}
	}()
	metadata, data := parts(disk, l)
	if err := c.Replace(metadataName, metadata); err != nil {
		return err
	}
	if err := c.Replace(dataName, data); err != nil {
		return err
	}
	pool, err := poolTarget(c, l)
	if err != nil {
		return err
	}
	if err := c.Replace(poolName, pool); err != nil {
		return err
	}
	root, err := rootTarget(c, image, l)
	if err != nil {
		return err
	}
	return c.Replace(rootName, root)
}

// Options of the root's mount. Of a file system that grew, nothing was ever written to its
// new inode tables, and what was never written reads as zeroes: the kernel need not write
// them, neither while it grows nor in the background, which would only take the host's
// room. It leaves them out while it grows if it is to write them later
// (fs/ext4/resize.c, ext4_setup_next_flex_gd).
const (
	always  = unix.MS_NOATIME // an access time would copy a block of the image
	options = "noinit_itable"
	growing = "init_itable"
)

// Mount mounts the root's device at target, and lets its file system grow to the device's
// size.
func Mount(target string) error {
	s, err := readSuperblock(Path)
	if err != nil {
		return fmt.Errorf("read the root's file system: %w", err)
	}
	size, err := deviceBytes(Path)
	if err != nil {
		return err
	}
	if err := mount(Path, target, always, options); err != nil || s.bytes() >= size {
		return err
	}
	return grow(Path, target, uint64(size)/s.blockBytes())
}

func mount(path, target string, flags uintptr, options string) error {
	if err := unix.Mount(path, target, "ext4", flags, options); err != nil {
		return fmt.Errorf("mount the root: %w", err)
	}
	return nil
}

// resizeFS is EXT4_IOC_RESIZE_FS (fs/ext4/ext4.h).
const resizeFS = 0x40086610

// grow makes the file system of a device, mounted at dir, as large as so many blocks.
func grow(path, dir string, blocks uint64) (err error) {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := mount(path, dir, always|unix.MS_REMOUNT, growing); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, mount(path, dir, always|unix.MS_REMOUNT, options)) }()
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, f.Fd(), resizeFS, uintptr(unsafe.Pointer(&blocks))); e != 0 {
		return fmt.Errorf("let the root grow to %d blocks: %w", blocks, e)
	}
	return nil
}

// superblock is the beginning of an ext4 file system's
// (Documentation/filesystems/ext4/super.rst).
type superblock struct {
	Inodes, BlocksLow uint32
	_                 [16]byte
	LogBlock          uint32
	_                 [28]byte
	Magic             uint16
	_                 [46]byte
	UUID              [16]byte
	_                 [216]byte
	BlocksHigh        uint32
}

const (
	superblockAtByte = 1024
	ext4Magic        = 0xef53
)

func (s superblock) blockBytes() uint64 { return 1024 << s.LogBlock }
func (s superblock) bytes() int64 {
	return int64((uint64(s.BlocksHigh)<<32 | uint64(s.BlocksLow)) * s.blockBytes())
}

func (s superblock) uuid() string {
	u := s.UUID
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

func readSuperblock(path string) (superblock, error) {
	f, err := os.Open(path)
	if err != nil {
		return superblock{}, err
	}
	defer f.Close()
	return superblockAt(f)
}

func superblockAt(f *os.File) (s superblock, err error) {
	if err := binary.Read(io.NewSectionReader(f, superblockAtByte, 1024), binary.LittleEndian, &s); err != nil {
		return s, err
	}
	if s.Magic != ext4Magic || s.LogBlock > 6 {
		return s, errors.New("it holds no ext4 file system")
	}
	return s, nil
}

func deviceBytes(path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return f.Seek(0, io.SeekEnd)
}
