package rootdisk

import (
	"errors"
	"strings"
	"testing"
)

func TestLayout(t *testing.T) {
	for _, mib := range []int64{64, 300, 8 << 10, 100 << 10, 16 << 20} {
		l := Of(mib << 20)
		if l.DataBytes != mib<<20 || l.FileBytes != DataAt+l.DataBytes {
			t.Errorf("Of(%d MiB) = %+v", mib, l)
		}
		// Each block's mapping, in nodes of a tree that are half full, while all of them are
		// written anew: without snapshots, metadata can't run out.
		if least := 2 * 48 * l.DataBytes / BlockBytes; l.MetadataBytes < least || MetadataAt+l.MetadataBytes > DataAt {
			t.Errorf("Of(%d MiB) has %d bytes of metadata, want %d at least", mib, l.MetadataBytes, least)
		}
		back, err := OfFile(l.FileBytes)
		if err != nil || back != l {
			t.Errorf("OfFile(%d) = %+v, %v; want %+v", l.FileBytes, back, err, l)
		}
	}
	for _, size := range []int64{-1, 0, 8 << 30, DataAt, DataAt + BlockBytes + 512} {
		if l, err := OfFile(size); err == nil && size != 8<<30 {
			t.Errorf("OfFile(%d) = %+v", size, l)
		}
	}
}

func TestHeader(t *testing.T) {
	want := Header{BlockBytes: BlockBytes, Image: "49cf978c-0000-0000-0000-000000000000", ImageBytes: 16 << 40}
	sector, err := want.Encode()
	if err != nil || len(sector) != HeaderBytes {
		t.Fatalf("Encode = %d bytes, %v", len(sector), err)
	}
	if got, err := Decode(sector); err != nil || got != want {
		t.Errorf("Decode = %+v, %v", got, err)
	}
	for text, none := range map[string]bool{
		"": true, "\x00": true, "banger root disk 2\n{}": true, magic + "{": false, magic + `{"block_bytes":65536}` + "\n": false,
	} {
		if h, err := Decode([]byte(text)); err == nil || errors.Is(err, ErrNone) != none {
			t.Errorf("Decode(%q) = %+v, %v", text, h, err)
		}
	}
	if _, err := (Header{Image: strings.Repeat("x", HeaderBytes)}).Encode(); err == nil {
		t.Error("Encode of a header that is too long: no error")
	}
}

func FuzzDecode(f *testing.F) {
	sector, _ := Header{BlockBytes: BlockBytes}.Encode()
	f.Add(sector)
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := Decode(b); err == nil && h.BlockBytes != BlockBytes {
			t.Errorf("Decode = %+v", h)
		}
	})
}
