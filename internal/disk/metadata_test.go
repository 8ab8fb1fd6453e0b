package disk

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"banger/internal/rootdisk"
	"banger/internal/vm"
)

func TestKeepMetadata(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	if err := Create(t.Context(), path, vm.MinDiskMiB); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, at := range []int64{0, rootdisk.MetadataAt, rootdisk.MetadataAt + 3<<12} {
		if _, err := f.WriteAt([]byte("here"), at); err != nil {
			t.Fatal(err)
		}
	}
	size := rootdisk.MetadataAt + rootdisk.Of(vm.MinDiskMiB<<20).MetadataBytes
	want := make([]byte, size)
	if _, err := f.ReadAt(want, 0); err != nil {
		t.Fatal(err)
	}
	for n, name := range []string{"disk-metadata-1", "disk-metadata-2"} {
		kept, err := KeepMetadata(path)
		if err != nil || filepath.Base(kept) != name {
			t.Fatalf("the %d. time: %q, %v", n+1, kept, err)
		}
		if got, err := os.ReadFile(kept); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes that are others, %v", kept, len(got), err)
		}
	}
}
