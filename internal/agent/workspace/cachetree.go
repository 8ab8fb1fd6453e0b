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
	// known, if it is set, gives the id of a directory's tree that need not be made; nil
	// for none. The path ends with a slash, or is empty.
	known func(dir []byte) []byte
	// made, if it is set, is given each tree that was made. The content is the caller's.
	made func(id, content []byte)
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
	if c.known != nil && len(entries) > 0 {
		if id := c.known(entries[0].Path[:at]); id != nil {
			return id, nil
		}
	}
	// A directory stands before those that it holds, and its id after them is known.
	below := cacheTree{hash: c.hash, known: c.known, made: c.made}
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
	id, err := objectID(c.hash, "tree", tree.Bytes())
	if err != nil {
		return nil, err
	}
	if c.made != nil {
		c.made(id, tree.Bytes())
	}
	fmt.Fprintf(&c.out, "%s\x00%d %d\n%s", name, len(entries), trees, id)
	c.out.Write(below.out.Bytes())
	return id, nil
}

// objectID is the id of an object.
func objectID(hash, kind string, content []byte) ([]byte, error) {
	h, err := newHash(hash)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(h, "%s %d\x00", kind, len(content))
	h.Write(content)
	return h.Sum(nil), nil
}
