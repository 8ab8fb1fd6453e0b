package kernel

import (
	"fmt"
	"io"
)

// newc writes an archive that the kernel unpacks as its initramfs
// (Documentation/driver-api/early-userspace/buffer-format.rst). Owners are
// root, times are zero: the same entries give the same bytes.
type newc struct {
	w     io.Writer
	inode uint32
	at    int64
	err   error
}

// Modes of entries (inode(7)).
const (
	modeDir     = 0o040755
	modeFile    = 0o100644
	modeProgram = 0o100755
	modeChar    = 0o020600
)

type newcEntry struct {
	name         string // without a leading slash
	mode         uint32
	data         []byte
	major, minor uint32 // of a device
}

func (c *newc) add(e newcEntry) {
	c.inode++
	c.entry(c.inode, 1, e)
}

func (c *newc) entry(inode, links uint32, e newcEntry) {
	// magic; ino mode uid gid nlink mtime filesize; devmajor devminor of the
	// archive's own; those of a device; namesize with its zero; check
	c.write(fmt.Appendf(nil, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		inode, e.mode, 0, 0, links, 0, uint32(len(e.data)), 0, 0, e.major, e.minor, len(e.name)+1, 0, e.name))
	c.pad()
	c.write(e.data)
	c.pad()
}

// close ends the archive and returns the first error of all. What follows
// begins on a multiple of four bytes.
func (c *newc) close() error {
	c.entry(0, 1, newcEntry{name: "TRAILER!!!"})
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
