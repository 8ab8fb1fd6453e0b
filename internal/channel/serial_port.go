package channel

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Names of the two virtio-serial ports, as the VMM's driver gives them.
const (
	SerialControl = "banger.control"
	SerialStreams = "banger.streams"
)

// OpenSerialGuest opens the guest's two virtio-serial ports and serves them.
func OpenSerialGuest() (*SerialGuest, error) {
	control, err := openPort(SerialControl)
	if err != nil {
		return nil, err
	}
	streams, err := openPort(SerialStreams)
	if err != nil {
		control.Close()
		return nil, err
	}
	return NewSerialGuest(control, streams), nil
}

// port is a virtio-serial port. A read of one that has no host end gives 0
// bytes at once (drivers/char/virtio_console.c, port_fops_read): that means
// wait. The descriptor is non-blocking, so Go's poller waits for the kernel's
// wake-up when a host comes or bytes do.
type port struct {
	*os.File
	raw syscall.RawConn
}

func openPort(name string) (*port, error) {
	files, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil || strings.TrimSpace(string(text)) != name {
			continue
		}
		dev := "/dev/" + filepath.Base(filepath.Dir(f))
		// A port takes one opener at a time: no other process can have it.
		file, err := os.OpenFile(dev, os.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		raw, err := file.SyscallConn()
		if err != nil {
			file.Close()
			return nil, err
		}
		return &port{file, raw}, nil
	}
	return nil, fmt.Errorf("find the virtio-serial port %q: there is none", name)
}

func (p *port) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	var n int
	var rerr error
	err := p.raw.Read(func(fd uintptr) bool {
		for {
			n, rerr = readPages(int(fd), b)
			if !errors.Is(rerr, unix.EINTR) {
				break
			}
		}
		return n > 0 || (rerr != nil && !errors.Is(rerr, unix.EAGAIN))
	})
	if err != nil {
		return 0, err
	}
	if rerr != nil {
		return 0, &os.PathError{Op: "read", Path: p.Name(), Err: rerr}
	}
	return n, nil
}

// readPages reads as many pages as are there in one system call. The port's own
// read gives a page at the most; the kernel makes one of each part of a readv,
// until a part is not filled.
func readPages(fd int, b []byte) (int, error) {
	if len(b) <= readAhead {
		return unix.Read(fd, b)
	}
	return unix.Readv(fd, slices.Collect(slices.Chunk(b, readAhead)))
}

var _ io.ReadWriteCloser = (*port)(nil)
