// Package thin reads, checks and mends the metadata of a dm-thin pool, in the form that
// the kernel writes (drivers/md/dm-thin-metadata.c and drivers/md/persistent-data). The
// pool must not be in use meanwhile. Making a pool is the kernel's own work.
package thin

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"
)

const (
	blockBytes = 4096 // of the metadata
	sector     = 512
)

// What each kind of block mixes into its checksum, so that none is taken for another.
const (
	superblockMix = 160774
	nodeMix       = 121107
	bitmapMix     = 240779
	indexMix      = 160478
)

const (
	magic          = 27022010
	newestVersion  = 2
	needsCheckFlag = 1
)

// ErrDamaged says that metadata are not as the kernel leaves them.
var ErrDamaged = errors.New("the pool's metadata are damaged")

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...))
}

// castagnoli makes its tables when it is called for: that takes an emulated guest as long as
// the start of a program does.
var castagnoli = sync.OnceValue(func() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) })

// checksum is dm_bm_checksum of a block: of all behind the checksum's own place. The
// kernel's crc32c leaves out the last inversion.
func checksum(block []byte, mix uint32) uint32 {
	return ^crc32.Checksum(block[4:], castagnoli()) ^ mix
}

func seal(block []byte, mix uint32) { binary.LittleEndian.PutUint32(block, checksum(block, mix)) }

// superblock is struct thin_disk_superblock, the block 0.
type superblock struct {
	Checksum, Flags uint32
	Block           uint64
	UUID            [16]byte
	Magic           uint64
	Version, Time   uint32
	Transaction     uint64
	Held            uint64 // root of a copy that user space may read; we make none
	DataMap         spaceMap
	_               [128 - 32]byte
	MetadataMap     spaceMap
	_               [128 - 32]byte
	Mappings        uint64 // root of a tree of trees: device, block of it
	Details         uint64 // root of a tree: device
	DataSectors     uint32 // a block's
	MetadataSectors uint32 // a block's
	MetadataBlocks  uint64
	Features        [3]uint32
}

// spaceMap is struct disk_sm_root: how often each block is referred to.
type spaceMap struct {
	Blocks, Allocated, Bitmaps, Counts uint64
}

// details are struct disk_device_details.
type details struct {
	Mapped, Transaction uint64
	Created, Snapped    uint32
}

const (
	detailsBytes = 24
	indexBytes   = 16 // of an entry, struct disk_index_entry
)

func decode(block []byte, v any) { binary.Decode(block, binary.LittleEndian, v) } // each caller has enough

// readBlock reads a block and looks at its checksum and at the number that it has at `at`.
func readBlock(r io.ReaderAt, n uint64, mix uint32, at int) ([]byte, error) {
	b := make([]byte, blockBytes)
	if _, err := r.ReadAt(b, int64(n)*blockBytes); err != nil {
		return nil, fmt.Errorf("read block %d of the pool's metadata: %w", n, err)
	}
	if binary.LittleEndian.Uint32(b) != checksum(b, mix) {
		return nil, damaged("block %d has a wrong checksum", n)
	}
	if got := binary.LittleEndian.Uint64(b[at:]); got != n {
		return nil, damaged("block %d says that it is %d", n, got)
	}
	return b, nil
}

func readSuperblock(r io.ReaderAt, blocks uint64) (s superblock, raw []byte, err error) {
	if raw, err = readBlock(r, 0, superblockMix, 8); err != nil {
		return s, nil, err
	}
	decode(raw, &s)
	switch {
	case s.Magic != magic || s.Version == 0 || s.Version > newestVersion || s.Features[2] != 0:
		err = damaged("its superblock is of an unknown form")
	case s.MetadataSectors != blockBytes/sector || s.MetadataBlocks == 0 || s.MetadataBlocks > blocks:
		err = damaged("its superblock says that it has %d blocks, there is room for %d", s.MetadataBlocks, blocks)
	}
	return s, raw, err
}

// NeedsCheck reports whether the kernel has marked a pool as one to be checked: a write of
// its metadata failed, and the kernel writes it no more.
func NeedsCheck(r io.ReaderAt) (bool, error) {
	b, err := readBlock(r, 0, superblockMix, 8)
	return err == nil && binary.LittleEndian.Uint32(b[4:])&needsCheckFlag != 0, err
}

// Unmark takes the kernel's mark away from metadata that Check has found whole. It is
// done when w has synced.
func Unmark(w interface {
	io.ReaderAt
	io.WriterAt
}) error {
	b, err := readBlock(w, 0, superblockMix, 8)
	if err != nil {
		return err
	}
	flags := binary.LittleEndian.Uint32(b[4:]) &^ needsCheckFlag
	binary.LittleEndian.PutUint32(b[4:], flags)
	seal(b, superblockMix)
	_, err = w.WriteAt(b[:sector], 0) // the rest is as it was; a sector is written whole or not at all
	return err
}
