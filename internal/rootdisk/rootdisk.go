// Package rootdisk says how the disk of a VM is laid out, for the host that makes the
// file and for the agent that makes the guest's root of it:
//
//	0             header: whose disk this is, and on which image it stands
//	metadataAt    metadata of a dm-thin pool, of a size that goes by the disk's
//	dataAt        the pool's data, to the end
//
// The file is sparse: of what lies between, only the metadata's own part is allocated
// when it is made, so that a host whose disk is full never fails the pool's bookkeeping.
// A larger disk is the same file made longer.
package rootdisk

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// BlockBytes is the pool's unit: the first write to a block of the image copies one
// (measured best of 64 KiB, 256 KiB and 1 MiB). A file's holes inside a block stay holes.
const BlockBytes = 1 << 20

// Where the parts begin, in bytes.
const (
	MetadataAt = 1 << 20
	DataAt     = MetadataAt + maxMetadata
)

// A block's mapping takes 24 to 48 bytes of metadata (the kernel's
// Documentation/admin-guide/device-mapper/thin-provisioning.rst); the rest is room for
// snapshots.
const (
	perBlock    = 128
	minMetadata = 2 << 20
	maxMetadata = 2 << 30 // for 16 TiB
)

// HeaderBytes is the header's size: a sector, which a disk writes whole or not at all.
const HeaderBytes = 512

// Layout is where the parts of a disk end.
type Layout struct {
	MetadataBytes int64
	DataBytes     int64
	FileBytes     int64
}

// Of lays a disk out for a root of so many bytes.
func Of(rootBytes int64) Layout {
	blocks := (rootBytes + BlockBytes - 1) / BlockBytes
	metadata := (blocks*perBlock + BlockBytes - 1) / BlockBytes * BlockBytes
	metadata = min(max(metadata, minMetadata), maxMetadata)
	data := blocks * BlockBytes
	return Layout{MetadataBytes: metadata, DataBytes: data, FileBytes: DataAt + data}
}

// OfFile lays out a disk whose file has so many bytes.
func OfFile(fileBytes int64) (Layout, error) {
	l := Of(fileBytes - DataAt)
	if fileBytes <= DataAt || l.FileBytes != fileBytes {
		return Layout{}, fmt.Errorf("a disk of %d bytes is none of this program's", fileBytes)
	}
	return l, nil
}

// Header is the header of a disk in use.
type Header struct {
	BlockBytes int64 `json:"block_bytes"`
	// Image is the file system of the image that the disk stands on, by its UUID, and
	// ImageBytes its size: on another one it is rubbish.
	Image      string `json:"image"`
	ImageBytes int64  `json:"image_bytes"`
}

// magic begins a header. Its number goes up when the layout changes.
const magic = "banger root disk 1\n"

// Encode returns the header's sector.
func (h Header) Encode() ([]byte, error) {
	text, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	out := make([]byte, HeaderBytes)
	if n := copy(out, magic+string(text)+"\n"); n == len(out) {
		return nil, errors.New("header is too long")
	}
	return out, nil
}

// ErrNone says that a disk is none of this program's.
var ErrNone = errors.New("it is no disk of this program's")

// Decode reads a header's sector. A disk that holds something else is ErrNone.
func Decode(sector []byte) (h Header, err error) {
	rest, ours := bytes.CutPrefix(sector, []byte(magic))
	if !ours {
		return h, ErrNone
	}
	text, _, _ := bytes.Cut(rest, []byte("\n"))
	if err := json.Unmarshal(text, &h); err != nil {
		return h, fmt.Errorf("read its header: %w", err)
	}
	if h.BlockBytes != BlockBytes {
		return h, fmt.Errorf("its header says blocks of %d bytes", h.BlockBytes)
	}
	return h, nil
}
