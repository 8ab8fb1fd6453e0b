package builder

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"banger/internal/hint"
)

// Limits of what a stream may cost.
const (
	maxBytes   = 16 << 30 // of the file system
	maxEntries = 1 << 20
)

const blockBytes = 4096

// mib is a MiB, in blocks. A VM's disk begins its own blocks at whole ones.
const mib = 1 << 20 / blockBytes

// size is what a tar stream's entries take in a file system.
type size struct {
	entries int
	blocks  int64 // with attributes
	names   int64 // bytes of directories
	bytes   int64 // of files' contents
	plain   plain
}

// measure reads a tar stream to its end.
func measure(ctx context.Context, r io.Reader) (s size, err error) {
	in := tar.NewReader(r)
	for {
		h, err := in.Next()
		if err == io.EOF {
			return s, nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return s, err
		}
		s.add(h)
		if s.entries > maxEntries || s.blocks > maxBytes/blockBytes || s.blocks < 0 {
			return s, fmt.Errorf("the tree has more than %d entries or %d GiB", maxEntries, maxBytes>>30)
		}
	}
}

func (s *size) add(h *tar.Header) {
	s.entries++
	s.plain.add(h)
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		s.blocks += min(h.Size, maxBytes)/blockBytes + 1
		s.bytes += min(h.Size, maxBytes)
	case tar.TypeDir, tar.TypeSymlink:
		s.blocks++
	}
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, "SCHILY.xattr.") {
			s.blocks++ // at the most; a short one fits into its inode
			break
		}
	}
	s.names += int64(len(filepath.Base(h.Name))) + 12
}

// bytesPerInode is what a Debian installation has.
const bytesPerInode = 16384

// journalBlocks is the journal of an image, which its VMs keep whatever their disks grow
// to: 32 MiB. What of it was never written takes no room.
const journalBlocks = 8192

// features are named in full, so that a host's mke2fs.conf does not decide what the
// guest's kernel has to understand.
const features = "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg," +
	"sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum"

// growBlocks is how far a file system can grow with its group descriptors in one place;
// beyond it the kernel spreads them (meta_bg). Of what is kept free for that, a VM's first
// boot writes a copy in each seventh group or so: for 1 TiB it was 3.5 MiB a VM.
const growBlocks = 1 << 24 // 64 GiB

// groupBlocks is a group of blocks: as many as a block has bits.
const groupBlocks = 8 * blockBytes

// copied reports whether a group begins with a copy of the superblock (sparse_super).
func copied(group int64) bool {
	for _, base := range []int64{3, 5, 7} {
		n := group
		for n > 1 && n%base == 0 {
			n /= base
		}
		if n == 1 {
			return true
		}
	}
	return false
}

// fit gives a file system of so many blocks, of which slack may be missing, its end: not
// in a group that it would have for slack alone if that begins with a copy of the
// superblock. A VM's first boot writes each copy, and takes a block of its own disk for it.
func fit(blocks, slack int64) int64 {
	last := (blocks - 1) / groupBlocks
	if last > 0 && copied(last) && blocks-last*groupBlocks <= slack {
		return last * groupBlocks
	}
	return blocks
}

// shape is a file system's: its blocks, and mke2fs's arguments.
type shape struct {
	blocks int64
	args   []string
}

// plan has room for s, and ends not long after it: a VM's root begins as large.
func plan(s size) shape {
	perInode := int64(bytesPerInode)
	blocks := s.blocks + 2*s.names/blockBytes // half of a directory's blocks may be free
	slack := blocks / 16
	blocks += slack + journalBlocks + 2048
	blocks = max(blocks, 3*journalBlocks) // mke2fs wants twice as much free
	if inodes := int64(s.entries) + int64(s.entries)/8 + 64; blocks*blockBytes/perInode < inodes {
		perInode = max(blocks*blockBytes/inodes/1024*1024, 2048)
	}
	blocks += blocks * 256 / perInode * 9 / 8 // the inodes' tables
	blocks = fit((blocks+mib-1)/mib*mib, slack)
	journal := fmt.Sprintf("size=%d", journalBlocks/mib)
	if blocks > groupBlocks+2*journalBlocks {
		// Behind the first copy of the superblock: both are written in a VM's first boot,
		// and take one block of its disk.
		journal += fmt.Sprintf(",location=%d", groupBlocks)
	}
	return shape{blocks, []string{
		"-q", "-F", "-t", "ext4", "-b", strconv.Itoa(blockBytes), "-I", "256", "-i", strconv.FormatInt(perInode, 10), "-m", "0",
		"-O", features, "-J", journal,
		"-E", fmt.Sprintf("lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0,resize=%d", growBlocks),
	}}
}

// format makes an empty ext4 with room for s in a new sparse file.
func format(ctx context.Context, path string, s size) error {
	mke2fs, err := findTool("mke2fs")
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	p := plan(s)
	if err := f.Truncate(p.blocks * blockBytes); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, mke2fs, append(p.args, path)...)
	cmd.Env = []string{"LC_ALL=C", "MKE2FS_CONFIG=/dev/null", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		text := strings.TrimSpace(stderr.String())
		err = fmt.Errorf("make a file system with %s: %w: %.500s", mke2fs, err, text)
		if strings.Contains(text, "No space left") {
			err = errors.Join(unix.ENOSPC, err)
		}
		return err
	}
	return nil
}

// findTool finds a program of e2fsprogs, which an ordinary user's PATH often lacks.
func findTool(name string) (string, error) {
	if p, err := exec.LookPath(name); err == nil {
		return filepath.Abs(p)
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		if p, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return p, nil
		}
	}
	return "", hint.Missing(fmt.Errorf("find %s: it is neither in PATH nor in /usr/sbin or /sbin", name), "install the package e2fsprogs (Debian: sudo apt-get install e2fsprogs)")
}
