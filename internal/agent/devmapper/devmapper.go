// Package devmapper makes block devices out of others by the kernel's device-mapper,
// with ioctl(2) alone: no program is needed
// (include/uapi/linux/dm-ioctl.h, version 4).
package devmapper

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Target is a part of a device, in sectors of 512 bytes, and what it is made of.
type Target struct {
	Start, Sectors uint64
	Kind           string // "linear", "thin-pool", …
	Params         string
}

// Device is a mapped device.
type Device struct {
	Name string
	Dev  uint64 // as stat(2) has it
}

// Number is the device as a table names it.
func (d Device) Number() string { return fmt.Sprintf("%d:%d", unix.Major(d.Dev), unix.Minor(d.Dev)) }

// Path is the device's node in devtmpfs.
func (d Device) Path() string { return fmt.Sprintf("/dev/dm-%d", unix.Minor(d.Dev)) }

// Control is the kernel's device-mapper. It belongs to one goroutine.
type Control struct{ f *os.File }

// Open opens the kernel's device-mapper. The caller closes it.
func Open() (*Control, error) {
	f, err := os.OpenFile("/dev/mapper/control", os.O_RDWR, 0)
	return &Control{f}, err
}

// Close leaves all devices as they are.
func (c *Control) Close() error { return c.f.Close() }

// The kernel's commands.
const (
	cmdCreate  = 3
	cmdRemove  = 4
	cmdSuspend = 6
	cmdStatus  = 7
	cmdLoad    = 9
	cmdTable   = 12
	cmdMessage = 14
)

// Flags of a command and of its answer.
const (
	flagReadOnly   = 1 << 0
	flagSuspend    = 1 << 1
	flagBufferFull = 1 << 8
)

// header is struct dm_ioctl.
type header struct {
	Version     [3]uint32
	DataSize    uint32
	DataStart   uint32
	TargetCount uint32
	OpenCount   int32
	Flags       uint32
	EventNr     uint32
	_           uint32
	Dev         uint64
	Name        [128]byte
	UUID        [129]byte
	_           [7]byte
}

// target is struct dm_target_spec.
type target struct {
	Start, Sectors uint64
	Status         int32
	Next           uint32
	Kind           [16]byte
}

const (
	headerBytes = uint32(unsafe.Sizeof(header{}))
	targetBytes = int(unsafe.Sizeof(target{}))
	// answerBytes is room for an answer; the statuses asked for here take a line.
	answerBytes = 16 << 10
	dmIoctl     = 0xfd
)

// call runs a command with data behind its header, and returns the answer's.
func (c *Control) call(cmd uintptr, name string, flags uint32, targets int, data []byte) (header, []byte, error) {
	h := header{
		Version: [3]uint32{4}, DataSize: max(headerBytes+uint32(len(data)), answerBytes), DataStart: headerBytes,
		TargetCount: uint32(targets), Flags: flags,
	}
	if copy(h.Name[:len(h.Name)-1], name) < len(name) {
		return h, nil, fmt.Errorf("device name %q is too long", name)
	}
	buf := make([]byte, h.DataSize)
	binary.Encode(buf, binary.NativeEndian, h) // it has room
	copy(buf[headerBytes:], data)
	const readWrite = 3 // _IOC_READ|_IOC_WRITE
	request := uintptr(readWrite)<<30 | uintptr(headerBytes)<<16 | dmIoctl<<8 | cmd
	_, _, e := unix.Syscall(unix.SYS_IOCTL, c.f.Fd(), request, uintptr(unsafe.Pointer(&buf[0])))
	runtime.KeepAlive(c.f)
	if e != 0 {
		return h, nil, e
	}
	binary.Decode(buf, binary.NativeEndian, &h)
	if h.Flags&flagBufferFull != 0 || h.DataStart > uint32(len(buf)) {
		return h, nil, errors.New("the kernel's answer is too long")
	}
	return h, buf[h.DataStart:], nil
}

// Create makes a device of targets and lets it run. An error leaves none.
func (c *Control) Create(name string, targets ...Target) (Device, error) {
	return c.create(name, 0, targets)
}

// CreateReadOnly is Create for a device that is not written, of devices that can't be.
func (c *Control) CreateReadOnly(name string, targets ...Target) (Device, error) {
	return c.create(name, flagReadOnly, targets)
}

func (c *Control) create(name string, flags uint32, targets []Target) (Device, error) {
	h, _, err := c.call(cmdCreate, name, 0, 0, nil)
	if err != nil {
		return Device{}, fmt.Errorf("make device %s: %w", name, err)
	}
	d := Device{name, unix.Mkdev(decode(h.Dev))}
	if err = c.load(name, flags, targets); err == nil {
		err = c.Resume(name)
	}
	if err != nil {
		c.Remove(name)
		return Device{}, err
	}
	return d, nil
}

// decode takes a kernel's huge_encode_dev apart (include/linux/kdev_t.h).
func decode(dev uint64) (major, minor uint32) {
	return uint32(dev>>8) & 0xfff, uint32(dev)&0xff | uint32(dev>>12)&0xfff00
}

// Load gives a device other targets, which count from its next Resume on.
func (c *Control) Load(name string, targets ...Target) error { return c.load(name, 0, targets) }

func (c *Control) load(name string, flags uint32, targets []Target) error {
	var data bytes.Buffer
	for _, t := range targets {
		spec := target{Start: t.Start, Sectors: t.Sectors}
		copy(spec.Kind[:len(spec.Kind)-1], t.Kind)
		// The parameters end with a NUL, and the next target begins at a multiple of 8.
		params := append([]byte(t.Params), make([]byte, 8-len(t.Params)%8)...)
		spec.Next = uint32(targetBytes + len(params))
		binary.Write(&data, binary.NativeEndian, spec)
		data.Write(params)
	}
	if _, _, err := c.call(cmdLoad, name, flags, len(targets), data.Bytes()); err != nil {
		return fmt.Errorf("load the table of device %s: %w", name, err)
	}
	return nil
}

// Replace gives a device other targets and lets it run.
func (c *Control) Replace(name string, targets ...Target) error {
	if err := c.Load(name, targets...); err != nil {
		return err
	}
	return c.Resume(name)
}

// Find returns the device of a name.
func (c *Control) Find(name string) (Device, error) {
	h, _, err := c.call(cmdStatus, name, 0, 0, nil)
	if err != nil {
		return Device{}, fmt.Errorf("find device %s: %w", name, err)
	}
	return Device{name, unix.Mkdev(decode(h.Dev))}, nil
}

// Suspend holds a device's requests back, after those under way and a flush.
func (c *Control) Suspend(name string) error {
	if _, _, err := c.call(cmdSuspend, name, flagSuspend, 0, nil); err != nil {
		return fmt.Errorf("suspend device %s: %w", name, err)
	}
	return nil
}

// Resume lets a device run, by the table that was loaded last.
func (c *Control) Resume(name string) error {
	if _, _, err := c.call(cmdSuspend, name, 0, 0, nil); err != nil {
		return fmt.Errorf("resume device %s: %w", name, err)
	}
	return nil
}

// Remove removes a device that nobody has open.
func (c *Control) Remove(name string) error {
	if _, _, err := c.call(cmdRemove, name, 0, 0, nil); err != nil {
		return fmt.Errorf("remove device %s: %w", name, err)
	}
	return nil
}

// Status is what a device's first target says of itself.
func (c *Control) Status(name string) (string, error) {
	h, data, err := c.call(cmdTable, name, 0, 0, nil)
	if err != nil {
		return "", fmt.Errorf("ask for the status of device %s: %w", name, err)
	}
	if h.TargetCount == 0 || len(data) < targetBytes {
		return "", fmt.Errorf("device %s has no target", name)
	}
	line, _, _ := bytes.Cut(data[targetBytes:], []byte{0})
	return string(line), nil
}

// Message sends words to a device's first target.
func (c *Control) Message(name, words string) error {
	data := make([]byte, 8, 8+len(words)+1) // the sector
	data = append(append(data, words...), 0)
	if _, _, err := c.call(cmdMessage, name, 0, 0, data); err != nil {
		return fmt.Errorf("tell device %s %q: %w", name, words, err)
	}
	return nil
}
