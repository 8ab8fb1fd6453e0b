package workspace

import (
	"compress/zlib"
	"encoding/binary"
	"io"
)

// object is one of a pack.
type object struct {
	kind    byte
	content []byte
}

// Types of a pack's objects (git's Documentation/gitformat-pack.txt).
const (
	treeObject = 2
	blobObject = 3
)

// writePack writes a pack of whole objects.
func writePack(out io.Writer, objects []object, hashName string) error {
	sum, err := newHash(hashName)
	if err != nil {
		return err
	}
	w := io.MultiWriter(out, sum)
	head := binary.BigEndian.AppendUint32([]byte("PACK"), 2)
	if _, err := w.Write(binary.BigEndian.AppendUint32(head, uint32(len(objects)))); err != nil {
		return err
	}
	z, err := zlib.NewWriterLevel(w, zlib.BestSpeed)
	if err != nil {
		return err
	}
	for _, o := range objects {
		if _, err := w.Write(packHead(o.kind, len(o.content))); err != nil {
			return err
		}
		z.Reset(w)
		if _, err := z.Write(o.content); err != nil {
			return err
		}
		if err := z.Close(); err != nil {
			return err
		}
	}
	_, err = out.Write(sum.Sum(nil))
	return err
}

// packHead is what goes before an object: its type, and the size in parts of 4 and then
// 7 bits, the lowest first.
func packHead(kind byte, size int) []byte {
	head := []byte{kind<<4 | byte(size&15)}
	for size >>= 4; size > 0; size >>= 7 {
		head[len(head)-1] |= 0x80
		head = append(head, byte(size&0x7f))
	}
	return head
}
