package root

import (
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"banger/internal/agent/thin"
	"banger/internal/rootdisk"
)

// A mark is taken from metadata that are whole; damaged ones are left as they are until
// the user says so; of zeroes the kernel makes a new pool only if nothing was there.
func TestMend(t *testing.T) {
	packed, err := os.Open("../thin/testdata/metadata.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	z, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	l := rootdisk.Of(8 << 30)
	zeros := make([]byte, l.MetadataBytes)
	lost := append(zeros[:4096:4096], whole[4096:]...)
	for _, c := range []struct {
		name     string
		metadata []byte
		repair   bool
		want     Mended
		refused  bool
	}{
		{"whole", whole, false, Mended{}, false},
		{"whole, and repaired", whole, true, Mended{}, false},
		{"a first boot that was cut", zeros, false, Mended{}, false},
		{"without a superblock", lost, false, Mended{}, true},
		{"without a superblock, repaired", lost, true, Mended{Repaired: true}, false},
	} {
		f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteAt(c.metadata, rootdisk.MetadataAt); err != nil {
			t.Fatal(err)
		}
		got, err := mend(metadataOf(f, l), l, c.repair)
		if got.Checked != c.want.Checked || got.Repaired != c.want.Repaired || errors.Is(err, thin.ErrDamaged) != c.refused || !c.refused && err != nil {
			t.Errorf("%s: %+v, %v; want %+v", c.name, got, err, c.want)
		}
		now := make([]byte, l.MetadataBytes)
		if _, err := f.ReadAt(now, rootdisk.MetadataAt); err != nil {
			t.Fatal(err)
		}
		if same := string(now) == string(c.metadata); same == c.want.Repaired {
			t.Errorf("%s: the disk is as it was: %v", c.name, same)
		}
	}
}
