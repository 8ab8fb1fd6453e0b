package thin

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"testing"
)

// metadata returns what Linux 6.1 wrote of a VM's root, 2 MiB.
func metadata(t testing.TB) []byte { return unpack(t, "metadata") }

func unpack(t testing.TB, name string) []byte {
	t.Helper()
	f, err := os.Open("testdata/" + name + ".gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// memory is metadata in memory.
type memory []byte

func (m memory) ReadAt(p []byte, at int64) (int, error)  { return bytes.NewReader(m).ReadAt(p, at) }
func (m memory) WriteAt(p []byte, at int64) (int, error) { return copy(m[at:], p), nil }

func check(b []byte) error { return Check(bytes.NewReader(b), int64(len(b))) }

// Linux 6.1 has marked metadata on dm-flakey, whose writes failed; what is left without the
// mark is what thin_check --clear-needs-check-flag leaves.
func TestMark(t *testing.T) {
	b := unpack(t, "marked")
	whole := bytes.Clone(b)
	copy(whole, []byte{0x99, 0x84, 0x7d, 0x15, 0})
	for _, want := range []bool{true, false} {
		if got, err := NeedsCheck(bytes.NewReader(b)); err != nil || got != want {
			t.Errorf("NeedsCheck = %v, %v; want %v", got, err, want)
		}
		if err := check(b); err != nil {
			t.Errorf("marked %v: %v", want, err)
		}
		if err := Unmark(memory(b)); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(b, whole) {
		t.Error("Unmark changed more than the mark")
	}
}

// Whatever byte of what is in use changes, it is seen.
func TestCheckSees(t *testing.T) {
	whole := metadata(t)
	s, _, err := readSuperblock(bytes.NewReader(whole), uint64(len(whole))/blockBytes)
	if err != nil {
		t.Fatal(err)
	}
	used := map[uint64]bool{}
	c := &counter{metadata: make([]uint32, s.MetadataBlocks), data: make([]uint32, s.DataMap.Blocks)}
	c.walker = walker{r: bytes.NewReader(whole), blocks: s.MetadataBlocks, enter: func(b uint64) bool { used[b] = true; return true }}
	if err := errors.Join(c.devices(s)); err != nil {
		t.Fatal(err)
	}
	for b := range used {
		for _, at := range []uint64{0, 8, nodeHeader, nodeHeader + 8, blockBytes - 1} {
			spoilt := bytes.Clone(whole)
			spoilt[b*blockBytes+at] ^= 0x40
			if err := check(spoilt); !errors.Is(err, ErrDamaged) {
				t.Errorf("byte %d of block %d is another: Check = %v", at, b, err)
			}
		}
	}
	if len(used) < 3 {
		t.Errorf("%d blocks are in use", len(used))
	}
}

// A checksum that is right does not make a block right.
func TestCheckCounts(t *testing.T) {
	whole := metadata(t)
	s, _, err := readSuperblock(bytes.NewReader(whole), uint64(len(whole))/blockBytes)
	if err != nil {
		t.Fatal(err)
	}
	index := whole[s.MetadataMap.Bitmaps*blockBytes:]
	bitmap := binary.LittleEndian.Uint64(index[indexHeader:])
	for name, spoil := range map[string]func(block func(uint64) []byte){
		"a block in use is called free": func(block func(uint64) []byte) {
			b := block(bitmap)
			b[bitmapHeader] &^= 3
			seal(b, bitmapMix)
		},
		"a tree leads outside": func(block func(uint64) []byte) {
			b := block(0)
			binary.LittleEndian.PutUint64(b[320:], 1<<40)
			seal(b, superblockMix)
		},
		"a tree leads to another's node": func(block func(uint64) []byte) {
			b := block(0)
			binary.LittleEndian.PutUint64(b[320:], s.DataMap.Bitmaps)
			seal(b, superblockMix)
		},
		"more blocks than there are": func(block func(uint64) []byte) {
			b := block(0)
			binary.LittleEndian.PutUint64(b[344:], 513)
			seal(b, superblockMix)
		},
		"a superblock of zeroes": func(block func(uint64) []byte) { clear(block(0)) },
	} {
		b := bytes.Clone(whole)
		spoil(func(n uint64) []byte { return b[n*blockBytes : (n+1)*blockBytes] })
		if err := check(b); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: Check = %v", name, err)
		}
	}
	if err := Check(bytes.NewReader(whole[:8*blockBytes]), int64(len(whole))); err == nil || errors.Is(err, ErrDamaged) {
		t.Errorf("blocks that can't be read: Check = %v", err)
	}
}

func (memory) Sync() error { return nil }

var shape = Shape{Bytes: 2 << 20, DataSectors: 2048, DataBlocks: 8192}

// mappings are those of device 0.
func mappings(t testing.TB, b []byte) map[uint64]mapping {
	t.Helper()
	left, err := gather(bytes.NewReader(b), shape)
	if err != nil {
		t.Fatal(err)
	}
	return left.devices[0].mappings
}

// Of metadata whose superblock is lost nothing is lost; of others what a block held that
// can't be read.
func TestRepair(t *testing.T) {
	whole := metadata(t)
	all := mappings(t, whole)
	if len(all) < 20 {
		t.Fatalf("%d blocks are mapped", len(all))
	}
	s, _, err := readSuperblock(bytes.NewReader(whole), 512)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		spoil uint64 // a block
		lost  bool
	}{
		"nothing":                     {511, false},
		"the superblock":              {0, false},
		"the map of the data":         {s.DataMap.Bitmaps, false},
		"the map of the metadata":     {s.MetadataMap.Bitmaps, false},
		"the devices' details":        {s.Details, true},
		"the tree of devices' blocks": {s.Mappings, true},
	} {
		b := bytes.Clone(whole)
		clear(b[c.spoil*blockBytes : (c.spoil+1)*blockBytes])
		lost, err := Repair(memory(b), shape)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := check(b); err != nil {
			t.Errorf("%s: afterwards: %v", name, err)
		}
		got := mappings(t, b)
		for at, m := range all { // of a tree that was never in force there may be more
			if !c.lost && got[at] != m {
				t.Errorf("%s: of %d mappings %d are left, block %d is at %d, was at %d", name, len(all), len(got), at, got[at].block(), m.block())
			}
		}
		if (len(lost) > 0) != (c.lost || c.spoil == 0) {
			t.Errorf("%s: it says of what is lost: %v", name, lost)
		}
	}
	nothing := make(memory, shape.Bytes)
	if _, err := Repair(nothing, shape); !errors.Is(err, ErrDamaged) {
		t.Errorf("of zeroes: %v", err)
	}
	if empty, err := Empty(nothing, shape.Bytes); !empty || err != nil {
		t.Errorf("Empty of zeroes = %v, %v", empty, err)
	}
	clear(whole[:blockBytes])
	if empty, err := Empty(memory(whole), shape.Bytes); empty || err != nil {
		t.Errorf("Empty of metadata without a superblock = %v, %v", empty, err)
	}
}

// A part of a tree that is lost takes its own blocks along and no others; trees of
// several levels, and blocks of several references.
func TestRepairPart(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	left := &rest{super: superblock{MetadataBlocks: 512, DataSectors: 2048, DataMap: spaceMap{Blocks: 8192}}, devices: map[uint64]*device{}}
	for id := range uint64(5) { // each shares the data of the one before
		d := &device{mappings: map[uint64]mapping{}}
		for range 2000 {
			d.mappings[uint64(r.IntN(8192))] = mapping(r.IntN(8192))<<24 | mapping(id)
		}
		left.devices[id] = d
	}
	b := make(memory, shape.Bytes)
	build := &builder{f: b, blocks: 512, taken: map[uint64]bool{0: true}}
	super, err := build.build(left)
	if err != nil {
		t.Fatal(err)
	}
	b.WriteAt(super, 0)
	if err := check(b); err != nil {
		t.Fatal(err)
	}
	again, err := gather(b, shape)
	if err != nil || len(again.faults) > 0 {
		t.Fatal(err, again.faults)
	}
	for id, d := range left.devices {
		if !maps.Equal(again.devices[id].mappings, d.mappings) {
			t.Errorf("device %d has other mappings", id)
		}
	}
	top, err := readNode(b, func() uint64 { s, _, _ := readSuperblock(b, 512); return s.Mappings }())
	if err != nil {
		t.Fatal(err)
	}
	root, err := readNode(b, top.number(0))
	if err != nil || root.leaf {
		t.Fatalf("device 0 has a tree of one node, %v", err)
	}
	clear(b[root.number(1)*blockBytes : (root.number(1)+1)*blockBytes])
	lost, err := Repair(b, shape)
	if err != nil || len(lost) != 1 {
		t.Fatalf("Repair = %v, %v", lost, err)
	}
	for id, m := range mappings(t, b) {
		if left.devices[0].mappings[id] != m {
			t.Errorf("block %d is another", id)
		}
		if id >= root.keys[1] && id < root.keys[2] {
			t.Errorf("block %d was lost", id)
		}
	}
}

// Whatever the bytes, they are judged; what is repaired is whole.
func FuzzRepair(f *testing.F) {
	whole := metadata(f)
	f.Add(uint16(0), uint16(0), []byte{1})
	f.Add(uint16(0), uint16(320), []byte{7})
	f.Add(uint16(9), uint16(16), []byte{255})
	f.Fuzz(func(t *testing.T, block, at uint16, put []byte) {
		b := memory(bytes.Clone(whole))
		blk := b[int(block)%512*blockBytes:][:blockBytes]
		copy(blk[int(at)%blockBytes:], put)
		for _, mix := range []uint32{superblockMix, nodeMix, bitmapMix, indexMix} { // as one who can compute it
			if checksum(whole[int(block)%512*blockBytes:][:blockBytes], mix) == binary.LittleEndian.Uint32(whole[int(block)%512*blockBytes:]) {
				seal(blk, mix)
			}
		}
		check(b)
		Empty(b, shape.Bytes)
		if _, err := Repair(b, shape); err == nil {
			if err := check(b); err != nil {
				t.Errorf("after its repair: %v", err)
			}
		}
	})
}
