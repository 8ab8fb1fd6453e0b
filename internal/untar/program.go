package untar

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Program is the word by which the agent's program is asked to unpack; the path of the
// disk's device follows, which holds an empty ext4. Stdin is the stream, stdout a Result.
const Program = "unpack"

// Result is what an unpacking did. An Error says why there is nothing on the disk to be
// used.
type Result struct {
	Stats
	Error string `json:"error,omitempty"`
	// Full says that the file system had no room left.
	Full bool `json:"full,omitempty"`
}

// target is where the file system is mounted: no root is joined in such a guest.
const target = "/newroot"

// Run is the guest's end.
func Run(ctx context.Context, args []string, _ string, in io.Reader, out io.Writer) error {
	if len(args) != 1 {
		return fmt.Errorf("%q: want the path of a device", args)
	}
	var r Result
	var err error
	if r.Stats, err = unpackOn(ctx, args[0], in); err != nil {
		r.Error, r.Full = err.Error(), errors.Is(err, unix.ENOSPC)
	}
	return json.NewEncoder(out).Encode(r)
}

func unpackOn(ctx context.Context, device string, in io.Reader) (s Stats, err error) {
	// Whether the disk is whole is told by the unmount at the end, and by nothing before.
	if err := unix.Mount(device, target, "ext4", unix.MS_NOATIME|unix.MS_NODEV|unix.MS_NOSUID|unix.MS_NOEXEC, "noinit_itable,nobarrier"); err != nil {
		return s, &os.PathError{Op: "mount", Path: device, Err: err}
	}
	defer func() {
		if uerr := unix.Unmount(target, 0); err == nil && uerr != nil {
			err = &os.PathError{Op: "unmount", Path: device, Err: uerr}
		}
	}()
	if s, err = Unpack(ctx, in, target); err != nil {
		return s, err
	}
	fd, err := unix.Open(target, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return s, err
	}
	defer unix.Close(fd)
	if err := unix.Syncfs(fd); err != nil { // which tells of what failed in writing
		return s, err
	}
	// The journal's old blocks would stay in the image, and in each disk that is made on
	// it. Where the VMM takes no discards they do.
	flags := uint32(checkpointDiscard)
	unix.Syscall(unix.SYS_IOCTL, uintptr(fd), ioctlCheckpoint, uintptr(unsafe.Pointer(&flags)))
	return s, nil
}

// EXT4_IOC_CHECKPOINT and its flag (fs/ext4/ext4.h; Linux 5.14).
const (
	ioctlCheckpoint   = 0x4004662b
	checkpointDiscard = 1
)
