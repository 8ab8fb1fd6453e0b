package workspace

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"banger/internal/workspace/wire"
)

// cacheTree writes the index's extension TREE: the ids of the trees that its entries
// make, so that no git computes them again (git's Documentation/gitformat-index.txt).
// An index with a conflict or an intent to add has none.
type cacheTree struct {
	hash string // the object format
	out  bytes.Buffer
}

// cacheTreeOf returns the extension, with its head; nil for none.
func cacheTreeOf(entries []wire.Entry, hash string) ([]byte, error) {
	for _, e := range entries {
		if e.Stage != 0 || e.Bits&wire.IntentToAdd != 0 {
			return nil, nil
		}
	}
	c := cacheTree{hash: hash}
	if _, err := c.add("", entries, 0); err != nil {
		return nil, err
	}
	head := binary.BigEndian.AppendUint32([]byte("TREE"), uint32(c.out.Len()))
	return append(head, c.out.Bytes()...), nil
}

// add writes the directory called name, whose files are entries, and all below it. The
// entries' paths count from their byte at. It returns the tree's id.
func (c *cacheTree) add(name string, entries []wire.Entry, at int) ([]byte, error) {
	// A directory stands before those that it holds, and its id after them is known.
	below := cacheTree{hash: c.hash}
	var tree bytes.Buffer
	trees := 0
	for n := 0; n < len(entries); {
		rest := entries[n].Path[at:]
		dir, _, isDir := bytes.Cut(rest, []byte("/"))
		if !isDir {
			fmt.Fprintf(&tree, "%o %s\x00%s", entries[n].Mode, rest, entries[n].ID)
			n++
			continue
		}
		end := n + 1
		for end < len(entries) && bytes.HasPrefix(entries[end].Path[at:], rest[:len(dir)+1]) {
			end++
		}
		id, err := below.add(string(dir), entries[n:end], at+len(dir)+1)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&tree, "40000 %s\x00%s", dir, id)
		trees++
		n = end
	}
	h, err := newHash(c.hash)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(h, "tree %d\x00", tree.Len())
	h.Write(tree.Bytes())
	id := h.Sum(nil)
	fmt.Fprintf(&c.out, "%s\x00%d %d\n%s", name, len(entries), trees, id)
	c.out.Write(below.out.Bytes())
	return id, nil
}
