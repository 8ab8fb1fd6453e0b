package thin

import (
	"encoding/binary"
	"io"
)

// mapping is where a block of a device is: the data's block above the lowest 24 bits, and
// the time of a snapshot in those.
type mapping uint64

func (m mapping) block() uint64 { return uint64(m) >> 24 }

// counter counts the references to each block.
type counter struct {
	walker
	metadata, data []uint32
}

// Check reads metadata of so many bytes whole, as thin_check(8) does: each block, the
// order of each tree, and that no block is called free, or less used than it is. Then the
// kernel may write the pool. A block that is called used and is not takes room only.
func Check(r io.ReaderAt, bytes int64) error {
	s, _, err := readSuperblock(r, uint64(bytes)/blockBytes)
	if err != nil {
		return err
	}
	if s.DataMap.Blocks > maxDataBlocks {
		return damaged("its superblock says that its data has %d blocks", s.DataMap.Blocks)
	}
	c := &counter{metadata: make([]uint32, s.MetadataBlocks), data: make([]uint32, s.DataMap.Blocks)}
	c.walker = walker{r: r, blocks: s.MetadataBlocks, enter: func(b uint64) bool {
		c.metadata[b]++
		return c.metadata[b] == 1
	}}
	c.metadata[0] = 1
	if err := c.devices(s); err != nil {
		return err
	}
	data, err := c.dataMap(s.DataMap)
	if err != nil {
		return err
	}
	metadata, err := c.metadataMap(s.MetadataMap, s.MetadataBlocks)
	if err != nil {
		return err
	}
	if err := enough("data", data, c.data); err != nil {
		return err
	}
	return enough("metadata", metadata, c.metadata)
}

// maxDataBlocks is what a disk of the largest size, 16 TiB, has in blocks of 1 MiB.
const maxDataBlocks = 16 << 20

func enough(of string, says, is []uint32) error {
	for b := range is {
		if says[b] < is[b] {
			return damaged("block %d of its %s has %d references, and is said to have %d", b, of, is[b], says[b])
		}
	}
	return nil
}

// devices counts what the devices of the pool refer to.
func (c *counter) devices(s superblock) error {
	said := map[uint64]details{}
	err := c.walk(s.Details, detailsBytes, func(id uint64, value []byte) error {
		var d details
		decode(value, &d)
		said[id] = d
		return nil
	})
	if err != nil {
		return err
	}
	roots := map[uint64]uint64{}
	err = c.walk(s.Mappings, 8, func(id uint64, value []byte) error {
		roots[id] = binary.LittleEndian.Uint64(value)
		return nil
	})
	if err != nil {
		return err
	}
	if len(roots) != len(said) {
		return damaged("it has the mappings of %d devices, and %d devices", len(roots), len(said))
	}
	for id, root := range roots {
		if _, known := said[id]; !known {
			return damaged("it has mappings of device %d, and no such device", id)
		}
		err := c.walk(root, 8, func(_ uint64, value []byte) error {
			b := mapping(binary.LittleEndian.Uint64(value)).block()
			if b >= uint64(len(c.data)) {
				return damaged("a mapping leads to block %d of the data, which has %d", b, len(c.data))
			}
			c.data[b]++
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

const (
	bitmapHeader = 16
	indexHeader  = 16
	perBitmap    = (blockBytes - bitmapHeader) * 4 // two bits a block
	maxIndex     = 255                             // entries of the metadata's own index
)

// dataMap reads what the data's space map says. Its index is a tree.
func (c *counter) dataMap(m spaceMap) ([]uint32, error) {
	says := make([]uint32, m.Blocks)
	err := c.walk(m.Bitmaps, indexBytes, func(i uint64, value []byte) error {
		return c.bitmap(says, i, binary.LittleEndian.Uint64(value))
	})
	if err != nil {
		return nil, err
	}
	return says, c.counts(m, says)
}

// metadataMap reads what the space map of the metadata says of themselves. Its index is
// one block.
func (c *counter) metadataMap(m spaceMap, blocks uint64) ([]uint32, error) {
	if m.Blocks != blocks || m.Bitmaps == 0 || m.Bitmaps >= blocks {
		return nil, damaged("the map of its metadata has %d blocks, not %d", m.Blocks, blocks)
	}
	index, err := readBlock(c.r, m.Bitmaps, indexMix, 8)
	if err != nil {
		return nil, err
	}
	c.metadata[m.Bitmaps]++
	says := make([]uint32, blocks)
	for i := uint64(0); i*perBitmap < blocks; i++ {
		if i >= maxIndex {
			return nil, damaged("the map of its metadata has %d blocks", blocks)
		}
		if err := c.bitmap(says, i, binary.LittleEndian.Uint64(index[indexHeader+indexBytes*i:])); err != nil {
			return nil, err
		}
	}
	return says, c.counts(m, says)
}

// bitmap reads the i-th bitmap of a space map.
func (c *counter) bitmap(says []uint32, i, at uint64) error {
	if at == 0 || at >= c.blocks || i > uint64(len(says))/perBitmap {
		return damaged("bitmap %d of a space map is at block %d", i, at)
	}
	c.metadata[at]++
	b, err := readBlock(c.r, at, bitmapMix, 8)
	if err != nil {
		return err
	}
	for j, n := uint64(0), i*perBitmap; j < perBitmap && n+j < uint64(len(says)); j++ {
		pair := b[bitmapHeader+j/4] >> (j % 4 * 2)
		says[n+j] = uint32(pair&1)<<1 | uint32(pair>>1&1)
	}
	return nil
}

// counts reads the counts that bitmaps don't hold: those above 2.
func (c *counter) counts(m spaceMap, says []uint32) error {
	return c.walk(m.Counts, 4, func(b uint64, value []byte) error {
		if b >= uint64(len(says)) {
			return damaged("a count is of block %d", b)
		}
		if says[b] == 3 {
			says[b] = binary.LittleEndian.Uint32(value)
		}
		return nil
	})
}
