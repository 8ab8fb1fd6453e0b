package kernel

import (
	"fmt"
	"io"
)

// newc writes an archive that the kernel unpacks as its initramfs
// (Documentation/driver-api/early-userspace/buffer-format.rst). Several may
// follow one another in one file.
type newc struct {
	w     io.Writer
	inode int
	at    int64
	err   error
}

// Modes of entries (inode(7)).
const (
	modeDir  = 0o040755
	modeFile = 0o100755
	modeChar = 0o020600
)

type newcEntry struct {
	name         string
	mode         int
	data         []byte
	major, minor int // of a device
}

func (c *newc) add(e newcEntry) {
	c.inode++
	c.write([]byte(fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		c.inode, e.mode, 0, 0, 1, 0, len(e.data), 0, 0, e.major, e.minor, len(e.name)+1, 0)))
	c.write([]byte(e.name + "\x00"))
	c.pad()
	c.write(e.data)
	c.pad()
}

// close ends the archive and returns the first error of all.
func (c *newc) close() error {
	c.inode = -1
	c.add(newcEntry{name: "TRAILER!!!"})
	return c.err
}

func (c *newc) pad() { c.write(make([]byte, (4-c.at%4)%4)) }

func (c *newc) write(p []byte) {
	if c.err != nil {
		return
	}
	var n int
	n, c.err = c.w.Write(p)
	c.at += int64(n)
}
