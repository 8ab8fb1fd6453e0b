package thin

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
)

// File is a disk's part that holds metadata.
type File interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
}

// Shape is what a pool's metadata must fit, as the disk's layout says.
type Shape struct {
	Bytes       int64 // of the metadata
	DataSectors uint32
	DataBlocks  uint64
}

// device is what is left of a device.
type device struct {
	details
	mappings map[uint64]mapping
}

// rest is what can be read of damaged metadata.
type rest struct {
	super   superblock // its zero value, but for what must be, if it could not be read
	devices map[uint64]*device
	used    map[uint64]bool // blocks that hold it
	faults  []error
}

func (r *rest) count() (n int) {
	for _, d := range r.devices {
		n += len(d.mappings)
	}
	return n
}

// Repair makes metadata anew of what can be read of damaged ones, in blocks that those
// don't use; the last write, of one sector, puts them in force. It returns what could not
// be read: blocks of devices that it mapped are lost. If it can't read any, it changes
// nothing.
func Repair(f File, shape Shape) (lost []error, err error) {
	left, err := gather(f, shape)
	if err != nil {
		return nil, err
	}
	b := &builder{f: f, blocks: uint64(shape.Bytes) / blockBytes, avoid: left.used, taken: map[uint64]bool{0: true}}
	super, err := b.build(left)
	if err != nil {
		return nil, fmt.Errorf("make the pool's metadata anew: %w", err)
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	if _, err := f.WriteAt(super, 0); err != nil {
		return nil, err
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	return left.faults, Check(f, shape.Bytes)
}

// Empty reports whether metadata hold no block of any device: a superblock of zeroes, of
// which the kernel makes a new pool, may be that of a first boot that was cut, or all that
// is lost.
func Empty(r io.ReaderAt, bytes int64) (bool, error) {
	head := make([]byte, sector)
	if _, err := r.ReadAt(head, 0); err != nil {
		return false, err
	}
	if slices.ContainsFunc(head, func(b byte) bool { return b != 0 }) {
		return false, nil
	}
	for b := range uint64(bytes) / blockBytes {
		if n, err := readNode(r, b); err == nil && n.leaf && n.valueBytes == 8 && len(n.keys) > 0 {
			return false, nil
		}
	}
	return true, nil
}

// gather reads by the superblock, or looks for the tree that has the most.
func gather(r io.ReaderAt, shape Shape) (*rest, error) {
	blocks := uint64(shape.Bytes) / blockBytes
	s, _, err := readSuperblock(r, blocks)
	if err == nil {
		left := read(r, s, shape)
		if left.count() > 0 || len(left.faults) == 0 {
			return left, nil
		}
		err = errors.Join(left.faults...)
	}
	var best *rest
	for b := uint64(1); b < blocks; b++ {
		if !isTop(r, b, blocks) {
			continue
		}
		s := superblock{Mappings: b, MetadataBlocks: blocks, DataMap: spaceMap{Blocks: shape.DataBlocks}}
		left := read(r, s, shape)
		if best == nil || len(left.faults) < len(best.faults) || len(left.faults) == len(best.faults) && left.count() > best.count() {
			best = left
		}
	}
	if best == nil || best.count() == 0 {
		return nil, damaged("no mapping of any device can be read: %v", err)
	}
	best.faults = append(best.faults, err)
	return best, nil
}

// isTop reports whether a block may be the root of the tree of devices: its values are
// blocks of the metadata, and a mapping's are larger.
func isTop(r io.ReaderAt, at, blocks uint64) bool {
	n, err := readNode(r, at)
	if err != nil || !n.leaf || n.valueBytes != 8 || len(n.keys) == 0 {
		return false
	}
	for i := range n.keys {
		if v := n.number(i); v == 0 || v >= blocks {
			return false
		}
	}
	return true
}

// read reads all that a superblock leads to.
func read(r io.ReaderAt, s superblock, shape Shape) *rest {
	left := &rest{super: s, devices: map[uint64]*device{}, used: map[uint64]bool{0: true}}
	w := walker{r: r, blocks: s.MetadataBlocks, fault: func(err error) { left.faults = append(left.faults, err) }}
	tree := func(root uint64, valueBytes int, each func(uint64, []byte) error) {
		seen := map[uint64]bool{} // devices share nodes, and damage must lead to no circle
		w.enter = func(b uint64) bool {
			fresh := !seen[b]
			seen[b], left.used[b] = true, true
			return fresh
		}
		w.walk(root, valueBytes, each) // what is wrong has gone to fault
	}
	if s.Details != 0 {
		tree(s.Details, detailsBytes, func(id uint64, value []byte) error {
			d := &device{mappings: map[uint64]mapping{}}
			decode(value, &d.details)
			left.devices[id] = d
			return nil
		})
	}
	roots := map[uint64]uint64{}
	tree(s.Mappings, 8, func(id uint64, value []byte) error {
		roots[id] = binary.LittleEndian.Uint64(value)
		return nil
	})
	for id, root := range roots {
		d := left.devices[id]
		if d == nil {
			d = &device{mappings: map[uint64]mapping{}}
			left.devices[id] = d
		}
		tree(root, 8, func(b uint64, value []byte) error {
			m := mapping(binary.LittleEndian.Uint64(value))
			if m.block() >= shape.DataBlocks {
				return damaged("a mapping leads to block %d of the data, which has %d", m.block(), shape.DataBlocks)
			}
			d.mappings[b] = m
			return nil
		})
	}
	left.super.DataSectors = shape.DataSectors
	left.super.DataMap.Blocks = shape.DataBlocks
	return left
}

// builder writes metadata into blocks that the old ones don't use.
type builder struct {
	f            File
	blocks, next uint64
	avoid, taken map[uint64]bool
}

func (b *builder) take() (uint64, error) {
	for b.next++; b.next < b.blocks; b.next++ {
		if !b.avoid[b.next] {
			b.taken[b.next] = true
			return b.next, nil
		}
	}
	return 0, fmt.Errorf("they have no room beside the damaged ones (%d blocks)", b.blocks)
}

func (b *builder) write(at uint64, block []byte, mix uint32) error {
	binary.LittleEndian.PutUint64(block[8:], at)
	seal(block, mix)
	_, err := b.f.WriteAt(block, int64(at)*blockBytes)
	return err
}

// build writes all but the superblock, which it returns.
func (b *builder) build(left *rest) ([]byte, error) {
	s := superblock{
		UUID: left.super.UUID, Magic: magic, Version: newestVersion, Time: left.super.Time, Transaction: left.super.Transaction,
		DataSectors: left.super.DataSectors, MetadataSectors: blockBytes / sector, MetadataBlocks: left.super.MetadataBlocks,
	}
	data := make([]uint32, left.super.DataMap.Blocks)
	var described, mapped entries
	for _, id := range slices.Sorted(maps.Keys(left.devices)) {
		d := left.devices[id]
		var of entries
		for _, at := range slices.Sorted(maps.Keys(d.mappings)) {
			m := d.mappings[at]
			of.add(at, uint64(m))
			data[m.block()]++
			s.Time = max(s.Time, uint32(m)&(1<<24-1))
		}
		root, err := b.tree(of, 8)
		if err != nil {
			return nil, err
		}
		d.Mapped = uint64(len(of.keys))
		mapped.add(id, root)
		described.add(id, d.details)
	}
	var err error
	if s.Mappings, err = b.tree(mapped, 8); err != nil {
		return nil, err
	}
	if s.Details, err = b.tree(described, detailsBytes); err != nil {
		return nil, err
	}
	if s.DataMap, err = b.dataMap(data); err != nil {
		return nil, err
	}
	if s.MetadataMap, err = b.metadataMap(s.MetadataBlocks); err != nil {
		return nil, err
	}
	block := make([]byte, blockBytes)
	binary.Encode(block, binary.LittleEndian, s) // it has room
	seal(block, superblockMix)
	return block, nil
}

// entries are a tree's, in the order of their keys.
type entries struct {
	keys   []uint64
	values []any
}

func (e *entries) add(key uint64, value any) {
	e.keys, e.values = append(e.keys, key), append(e.values, value)
}

// tree writes a tree and returns its root.
func (b *builder) tree(e entries, valueBytes int) (root uint64, err error) {
	most := (blockBytes - nodeHeader) / (8 + valueBytes) / 3 * 3 // as the kernel's calc_max_entries
	flag := uint32(leafFlag)
	for {
		var above entries
		nodes := max(1, (len(e.keys)+most-1)/most)
		for i := range nodes { // each has as many as the others: the kernel wants a third at least
			from, to := i*len(e.keys)/nodes, (i+1)*len(e.keys)/nodes
			block := make([]byte, blockBytes)
			binary.LittleEndian.PutUint32(block[4:], flag)
			for j, n := range []int{to - from, most, valueBytes} {
				binary.LittleEndian.PutUint32(block[16+4*j:], uint32(n))
			}
			for j := from; j < to; j++ {
				binary.LittleEndian.PutUint64(block[nodeHeader+8*(j-from):], e.keys[j])
				binary.Encode(block[nodeHeader+8*most+valueBytes*(j-from):], binary.LittleEndian, e.values[j]) // it has room
			}
			if root, err = b.take(); err != nil {
				return 0, err
			}
			if err := b.write(root, block, nodeMix); err != nil {
				return 0, err
			}
			if to > from {
				above.add(e.keys[from], root)
			}
		}
		if nodes == 1 {
			return root, nil
		}
		e, valueBytes, most, flag = above, 8, (blockBytes-nodeHeader)/16/3*3, internalFlag
	}
}

// indexEntry is struct disk_index_entry.
type indexEntry struct {
	Block           uint64
	Free, FreeAfter uint32
}

// bitmap writes the i-th bitmap of a space map.
func (b *builder) bitmap(at uint64, counts []uint32, i int) (indexEntry, error) {
	block := make([]byte, blockBytes)
	e := indexEntry{Block: at, Free: perBitmap}
	for j, n := range counts[i*perBitmap : min(len(counts), (i+1)*perBitmap)] {
		n = min(n, 3)
		block[bitmapHeader+j/4] |= byte(n>>1|n&1<<1) << (j % 4 * 2)
		if n > 0 {
			e.Free--
		}
	}
	return e, b.write(at, block, bitmapMix)
}

func bitmaps(blocks int) int { return (blocks + perBitmap - 1) / perBitmap }

func (b *builder) dataMap(counts []uint32) (m spaceMap, err error) {
	m.Blocks = uint64(len(counts))
	var index, many entries
	for i := range bitmaps(len(counts)) {
		at, err := b.take()
		if err != nil {
			return m, err
		}
		e, err := b.bitmap(at, counts, i)
		if err != nil {
			return m, err
		}
		index.add(uint64(i), e)
	}
	for at, n := range counts {
		if n > 0 {
			m.Allocated++
		}
		if n > 2 {
			many.add(uint64(at), n)
		}
	}
	if m.Bitmaps, err = b.tree(index, indexBytes); err != nil {
		return m, err
	}
	m.Counts, err = b.tree(many, 4)
	return m, err
}

// metadataMap writes the space map of the metadata, its own blocks in it.
func (b *builder) metadataMap(blocks uint64) (m spaceMap, err error) {
	m.Blocks = blocks
	if m.Counts, err = b.tree(entries{}, 4); err != nil {
		return m, err
	}
	if m.Bitmaps, err = b.take(); err != nil {
		return m, err
	}
	at := make([]uint64, min(bitmaps(int(blocks)), maxIndex))
	for i := range at {
		if at[i], err = b.take(); err != nil {
			return m, err
		}
	}
	counts := make([]uint32, blocks)
	for t := range b.taken {
		counts[t] = 1
	}
	m.Allocated = uint64(len(b.taken))
	index := make([]byte, blockBytes)
	for i := range at {
		e, err := b.bitmap(at[i], counts, i)
		if err != nil {
			return m, err
		}
		binary.Encode(index[indexHeader+indexBytes*i:], binary.LittleEndian, e) // it has room
	}
	return m, b.write(m.Bitmaps, index, indexMix)
}
