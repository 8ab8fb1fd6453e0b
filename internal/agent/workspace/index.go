package workspace

import (
	"bufio"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"path"

	"golang.org/x/sys/unix"

	"banger/internal/unpack"
	"banger/internal/workspace/wire"
)

// Flags of an entry (git's Documentation/gitformat-index.txt).
const (
	flagAssumeValid  = 0x8000
	flagExtended     = 0x4000
	flagStageShift   = 12
	flagName         = 0x0fff
	extendedSkip     = 0x4000
	extendedIntent   = 0x2000
	indexSignature   = "DIRC"
	indexAlign       = 8
	indexStatLength  = 40 // of an entry's stat data and mode
	indexFlagsLength = 2
)

// index writes the git directory's index out of the stream's entries, which come in
// the index's order. An entry that is Same gets the stat data of its file in the
// tree.
func (u *unpacker) index(in io.Reader, hashName string) error {
	var entries []wire.Entry
	version := uint32(2)
	err := wire.ReadEntries(in, func(e wire.Entry) error {
		if e.Bits&(wire.IntentToAdd|wire.SkipWorktree) != 0 {
			version = 3 // the first with extended flags
		}
		entries = append(entries, e)
		return nil
	})
	if err != nil {
		return err
	}
	sum, err := newHash(hashName)
	if err != nil {
		return err
	}
	trees, err := cacheTreeOf(entries, hashName)
	if err != nil {
		return err
	}
	r, out := io.Pipe()
	go func() { // ends when r is read or closed
		b := bufio.NewWriterSize(out, 256<<10)
		indexWriter{sum: sum, version: version, extensions: trees, stats: u.stats}.write(b, entries)
		out.CloseWithError(b.Flush()) // of all writes
	}()
	_, _, err = u.dir.File(unpack.File{Name: path.Join(gitDir, "index"), Perm: 0o644}, r)
	r.CloseWithError(err)
	return err
}

// indexWriter writes an index file.
type indexWriter struct {
	sum        hash.Hash // that nothing was written to
	version    uint32
	extensions []byte
	stats      map[string]unix.Stat_t // of the files, by path, for entries that are Same
}

// write writes the file. The errors are out's, which keeps them.
func (x indexWriter) write(out *bufio.Writer, entries []wire.Entry) {
	w := io.MultiWriter(out, x.sum)
	head := append([]byte(indexSignature), binary.BigEndian.AppendUint32(nil, x.version)...)
	w.Write(binary.BigEndian.AppendUint32(head, uint32(len(entries))))
	for _, e := range entries {
		w.Write(x.encode(e))
	}
	w.Write(x.extensions)
	out.Write(x.sum.Sum(nil))
}

// newHash is the hash of an object format.
func newHash(name string) (hash.Hash, error) {
	switch name {
	case "sha1":
		return sha1.New(), nil
	case "sha256":
		return sha256.New(), nil
	}
	return nil, fmt.Errorf("object format %q is not known", name)
}

func (x indexWriter) encode(e wire.Entry) []byte {
	b := make([]byte, indexStatLength, indexStatLength+len(e.ID)+len(e.Path)+2*indexFlagsLength+indexAlign)
	if st, found := x.stats[string(e.Path)]; found && e.Bits&wire.Same != 0 {
		putStat(b, &st)
	}
	binary.BigEndian.PutUint32(b[24:], e.Mode)
	b = append(b, e.ID...)
	flags := uint16(min(len(e.Path), flagName)) | uint16(e.Stage)<<flagStageShift
	if e.Bits&wire.AssumeUnchanged != 0 {
		flags |= flagAssumeValid
	}
	var extended uint16
	if e.Bits&wire.SkipWorktree != 0 {
		extended |= extendedSkip
	}
	if e.Bits&wire.IntentToAdd != 0 {
		extended |= extendedIntent
	}
	if extended != 0 {
		b = binary.BigEndian.AppendUint16(b, flags|flagExtended)
		b = binary.BigEndian.AppendUint16(b, extended)
	} else {
		b = binary.BigEndian.AppendUint16(b, flags)
	}
	b = append(b, e.Path...)
	return append(b, make([]byte, indexAlign-len(b)%indexAlign)...) // one NUL at least
}

// putStat writes a file's stat data as git takes them: each cut to 32 bits.
func putStat(b []byte, st *unix.Stat_t) {
	for i, v := range []uint32{
		uint32(st.Ctim.Sec), uint32(st.Ctim.Nsec), uint32(st.Mtim.Sec), uint32(st.Mtim.Nsec),
		uint32(st.Dev), uint32(st.Ino), 0, st.Uid, st.Gid, uint32(st.Size),
	} {
		binary.BigEndian.PutUint32(b[4*i:], v)
	}
}
