// Package ext4 writes a tar stream as a read-only ext4 file system, without
// root and without unpacking anything on the host.
//
// The writer is hcsshim's tar2ext4. What it gets wrong without a word is made
// right or refused by name here, before it: see normalise.
package ext4

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"github.com/Microsoft/hcsshim/ext4/tar2ext4"
)

// Limits of what a stream may hold.
const (
	MaxBytes   = 64 << 30  // of the file system
	maxEntries = 5_000_000 // files, directories and links
	maxName    = 255       // bytes of one name (ext4)
	maxPath    = 4095      // bytes of a whole path (PATH_MAX)
	maxLinks   = 65_000    // EXT4_LINK_MAX, for hard links and subdirectories
	maxXattrs  = 3 << 10   // bytes of one file's: the writer has an inode's rest and one block for them
)

// uuidAt is where a superblock keeps the file system's UUID: the superblock
// begins at 1024, s_uuid at 0x68 (kernel, Documentation/filesystems/ext4).
const uuidAt = 1024 + 0x68

// Stats says what went into a file system.
type Stats struct {
	Entries int
	Bytes   int64 // of file contents
	// Dropped counts ACL records, which the writer has no form for.
	Dropped int
}

// Write writes the tar stream r to w, an empty file, as a file system. The
// same stream gives the same bytes: its UUID is derived from the stream. An
// error leaves w in any state.
func Write(ctx context.Context, r io.Reader, w *os.File) (Stats, error) {
	sum := sha256.New()
	in := &contextReader{ctx, io.TeeReader(r, sum)}
	pr, pw := io.Pipe()
	var stats Stats
	done := make(chan error, 1)
	go func() { // ends with r, or when the writer below closes the pipe
		var err error
		stats, err = normalise(in, pw)
		pw.CloseWithError(err)
		done <- err
	}()
	err := tar2ext4.ConvertTarToExt4(pr, w, tar2ext4.MaximumDiskSize(MaxBytes))
	pr.CloseWithError(errWriter)
	if nerr := <-done; nerr != nil && !errors.Is(nerr, errWriter) {
		err = nerr
	}
	if err != nil {
		return stats, fmt.Errorf("write file system: %w", err)
	}
	// The stream's padding is not the file system's business, but a producer
	// that writes it must not be cut.
	if _, err := io.Copy(io.Discard, in); err != nil {
		return stats, fmt.Errorf("write file system: %w", err)
	}
	uuid := sum.Sum(nil)[:16]
	uuid[6] = uuid[6]&0x0f | 0x80 // RFC 9562, version 8: by the implementation's own rule
	uuid[8] = uuid[8]&0x3f | 0x80
	if _, err := w.WriteAt(uuid, uuidAt); err != nil {
		return stats, fmt.Errorf("write file system: %w", err)
	}
	return stats, nil
}

// errWriter says that the writer gave up first; its error is the cause.
var errWriter = errors.New("the writer gave up")

type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// normalise copies a tar stream and makes right or refuses what the ext4
// writer would get wrong:
//   - names that leave the root, or that ext4 can't hold, are refused;
//   - a second entry of one name is refused, but for directories, whose last
//     attributes count;
//   - times are brought between 1970 and 2038, and to whole seconds;
//   - more than 65,000 links or subdirectories, and more than 3 kB of extended
//     attributes, are refused;
//   - ACL records are dropped and counted.
func normalise(r io.Reader, w io.Writer) (Stats, error) {
	var stats Stats
	in, out := tar.NewReader(r), tar.NewWriter(w)
	isDir := map[string]bool{"": true}
	children := map[string]int{} // subdirectories of a directory
	links := map[string]int{}    // further names of a file
	first := map[string]string{} // a hard link's name to its first one
	for {
		h, err := in.Next()
		if err == io.EOF {
			return stats, out.Close()
		}
		if err != nil {
			return stats, err
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if stats.Entries++; stats.Entries > maxEntries {
			return stats, fmt.Errorf("stream has more than %d entries", maxEntries)
		}
		name, err := cleanName(h.Name)
		if err != nil {
			return stats, err
		}
		dir := h.Typeflag == tar.TypeDir
		if was, ok := isDir[name]; ok && !(was && dir) {
			return stats, fmt.Errorf("%q is there twice", name)
		} else if !ok && dir {
			parent := parentOf(name)
			if children[parent]++; children[parent] > maxLinks-2 {
				return stats, fmt.Errorf("%q has more than %d subdirectories", parent, maxLinks-2)
			}
		}
		isDir[name] = dir
		n := &tar.Header{
			Typeflag: h.Typeflag, Name: name, Mode: h.Mode & 0o7777, Uid: h.Uid, Gid: h.Gid,
			Devmajor: h.Devmajor, Devminor: h.Devminor, Format: tar.FormatPAX,
		}
		if name == "" {
			n.Name = "./"
		} else if dir {
			n.Name += "/"
		}
		n.ModTime = clampTime(h.ModTime)
		n.AccessTime, n.ChangeTime = n.ModTime, n.ModTime
		switch h.Typeflag {
		case tar.TypeReg:
			n.Size = h.Size
			stats.Bytes += h.Size
		case tar.TypeLink:
			if n.Linkname, err = cleanName(h.Linkname); err != nil {
				return stats, err
			}
			target := n.Linkname
			if f, ok := first[target]; ok {
				target = f
			}
			first[name] = target
			if links[target]++; links[target] > maxLinks-1 {
				return stats, fmt.Errorf("%q has more than %d links", target, maxLinks-1)
			}
		case tar.TypeSymlink:
			if n.Linkname = h.Linkname; n.Linkname == "" || len(n.Linkname) > maxPath {
				return stats, fmt.Errorf("symbolic link %q has a target of %d bytes", name, len(n.Linkname))
			}
		case tar.TypeDir, tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		default:
			return stats, fmt.Errorf("%q has the unknown type %q", name, h.Typeflag)
		}
		if err := copyXattrs(n, h, &stats); err != nil {
			return stats, err
		}
		if err := out.WriteHeader(n); err != nil {
			return stats, err
		}
		if _, err := io.Copy(out, in); err != nil {
			return stats, err
		}
	}
}

const xattrPrefix = "SCHILY.xattr."

func copyXattrs(n, h *tar.Header, stats *Stats) error {
	total := 0
	for k, v := range h.PAXRecords {
		key, ok := strings.CutPrefix(k, xattrPrefix)
		if strings.HasPrefix(k, "SCHILY.acl.") || strings.HasPrefix(key, "system.posix_acl_") {
			stats.Dropped++
			continue
		}
		if !ok {
			continue
		}
		if total += len(key) + len(v) + 16; total > maxXattrs {
			return fmt.Errorf("%q has more than %d bytes of extended attributes", h.Name, maxXattrs)
		}
		if n.PAXRecords == nil {
			n.PAXRecords = map[string]string{}
		}
		n.PAXRecords[k] = v
	}
	return nil
}

// cleanName returns a name relative to the root, "" for the root itself.
func cleanName(name string) (string, error) {
	if len(name) > maxPath || strings.ContainsRune(name, 0) {
		return "", fmt.Errorf("name %.40q… can't be a path", name)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", fmt.Errorf("name %q leaves the root", name)
		}
		if len(part) > maxName {
			return "", fmt.Errorf("name %.40q… has a part of %d bytes: the most is %d", name, len(part), maxName)
		}
	}
	return strings.TrimPrefix(path.Clean("/"+name), "/"), nil
}

func parentOf(name string) string {
	p := path.Dir(name)
	if p == "." {
		return ""
	}
	return p
}

// latest is the last second of a signed 32-bit time: what every reader of
// ext4's times agrees on.
var latest = time.Unix(1<<31-1, 0)

func clampTime(t time.Time) time.Time {
	switch {
	case t.Unix() < 0:
		return time.Unix(0, 0)
	case t.After(latest):
		return latest
	}
	return time.Unix(t.Unix(), 0)
}
