package thin

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

// node is a node of a tree (struct btree_node): keys in their order, and a value for each.
type node struct {
	leaf       bool
	keys       []uint64
	values     []byte
	valueBytes int
}

const (
	nodeHeader   = 32
	internalFlag = 1
	leafFlag     = 2
	// maxDepth is more than a tree of any size has: a node has 84 children at least when
	// it is half full.
	maxDepth = 12
)

func (n node) value(i int) []byte { return n.values[i*n.valueBytes : (i+1)*n.valueBytes] }
func (n node) number(i int) uint64 {
	return binary.LittleEndian.Uint64(n.value(i))
}

func readNode(r io.ReaderAt, at uint64) (n node, err error) {
	b, err := readBlock(r, at, nodeMix, 8)
	if err != nil {
		return n, err
	}
	var h struct {
		_, Flags    uint32
		_           uint64
		Count, Most uint32
		ValueBytes  uint32
	}
	decode(b, &h)
	size := uint64(h.ValueBytes)
	if h.Flags != internalFlag && h.Flags != leafFlag || size == 0 || size > blockBytes || h.Count > h.Most ||
		nodeHeader+uint64(h.Most)*(8+size) > blockBytes || h.Flags == internalFlag && (size != 8 || h.Count == 0) {
		return n, damaged("block %d is no node of a tree", at)
	}
	n = node{leaf: h.Flags == leafFlag, valueBytes: int(size), keys: make([]uint64, h.Count)}
	for i := range n.keys {
		n.keys[i] = binary.LittleEndian.Uint64(b[nodeHeader+8*i:])
		if i > 0 && n.keys[i] <= n.keys[i-1] {
			return n, damaged("block %d has its keys in disorder", at)
		}
	}
	n.values = b[nodeHeader+8*int(h.Most):]
	return n, nil
}

// walker goes through trees.
type walker struct {
	r      io.ReaderAt
	blocks uint64
	// enter is called with each node's block before it is read; false passes it by.
	enter func(block uint64) bool
	// fault, if it is set, takes what is wrong with a node, and the walk goes on beside it.
	fault func(error)
}

// walk calls each with the keys and values of a tree whose values have so many bytes.
func (w walker) walk(root uint64, valueBytes int, each func(key uint64, value []byte) error) error {
	return w.descend(root, valueBytes, 0, 0, math.MaxUint64, each)
}

// descend walks the part of a tree below one node, whose keys are from first to last.
func (w walker) descend(at uint64, valueBytes, depth int, first, last uint64, each func(uint64, []byte) error) error {
	if err := w.visit(at, valueBytes, depth, first, last, each); err != nil {
		if w.fault == nil {
			return err
		}
		w.fault(err)
	}
	return nil
}

func (w walker) visit(at uint64, valueBytes, depth int, first, last uint64, each func(uint64, []byte) error) error {
	if at == 0 || at >= w.blocks || depth > maxDepth {
		return damaged("a tree leads to block %d", at)
	}
	if !w.enter(at) {
		return nil
	}
	n, err := readNode(w.r, at)
	if err != nil {
		return err
	}
	if n.leaf && n.valueBytes != valueBytes {
		return damaged("block %d has values of %d bytes, not of %d", at, n.valueBytes, valueBytes)
	}
	if k := len(n.keys); k > 0 && (n.keys[0] < first || n.keys[k-1] > last) {
		return damaged("block %d has keys of another part of its tree", at)
	}
	for i, key := range n.keys {
		if n.leaf {
			if err := each(key, n.value(i)); err != nil {
				return fmt.Errorf("block %d: %w", at, err)
			}
			continue
		}
		end := last
		if i+1 < len(n.keys) {
			end = n.keys[i+1] - 1
		}
		if err := w.descend(n.number(i), valueBytes, depth+1, key, end, each); err != nil {
			return err
		}
	}
	return nil
}
