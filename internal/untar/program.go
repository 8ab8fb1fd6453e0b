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

// Program is the word by which the agent's program is asked to unpack. The paths of two
// disks' devices follow: one that holds an empty ext4, and one that is a tar. (A disk is
// read with half the time of an emulated guest that a stream of the channel takes.) Stdout
// is a Result a line, the last one Final.
const Program = "unpack"

// Result is how far an unpacking is, or what it did. An Error says why there is nothing on
// the disk to be used.
type Result struct {
	Read  int64 `json:"read,omitempty"` // bytes of the tar
	Final bool  `json:"final,omitempty"`
	Stats
	Error string `json:"error,omitempty"`
	// Full says that the file system had no room left.
	Full bool `json:"full,omitempty"`
}

// target is where the file system is mounted: no root is joined in such a guest.
const target = "/newroot"

// Run is the guest's end.
func Run(ctx context.Context, args []string, _ string, _ io.Reader, out io.Writer) error {
	if len(args) != 2 {
		return fmt.Errorf("%q: want the paths of two devices", args)
	}
	answers := json.NewEncoder(out)
	r := Result{Final: true}
	in, err := os.Open(args[1])
	if err == nil {
		defer in.Close()
		r.Stats, err = unpackOn(ctx, args[0], &teller{in: in, out: answers})
	}
	if err != nil {
		r.Error, r.Full = err.Error(), errors.Is(err, unix.ENOSPC)
	}
	return answers.Encode(r)
}

// tellEvery is how many bytes are read from one Result to the next.
const tellEvery = 1 << 20

// teller tells how much was read.
type teller struct {
	in      io.Reader
	out     *json.Encoder
	n, told int64
}

func (t *teller) Read(p []byte) (int, error) {
	n, err := t.in.Read(p)
	if t.n += int64(n); t.n-t.told >= tellEvery {
		t.told = t.n
		if terr := t.out.Encode(Result{Read: t.n}); terr != nil {
			return 0, terr
		}
	}
	return n, err
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
