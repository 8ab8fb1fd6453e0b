package vmm

import (
	"os"
	"path/filepath"
	"testing"
)

// files makes files of the given sizes and returns their paths.
func files(t *testing.T, sizes ...int64) []string {
	t.Helper()
	var paths []string
	for range sizes {
		paths = append(paths, filepath.Join(t.TempDir(), "f"))
	}
	for i, path := range paths {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, sizes[i]); err != nil {
			t.Fatal(err)
		}
	}
	return paths
}

func TestLargestDisk(t *testing.T) {
	f := files(t, 10<<20, 5<<20, 99<<20)
	for _, c := range []struct {
		disks []Disk
		want  int64
	}{
		{nil, 4096},
		{[]Disk{{Path: f[0]}, {Path: f[1]}, {Path: f[2], ReadOnly: true}}, 10 << 20},
		{[]Disk{{Path: f[1]}}, 5 << 20},
		{[]Disk{{Path: f[0]}, {Path: "/dev/null"}}, 0},
		{[]Disk{{Path: "/nonexistent"}}, 0},
	} {
		if got := largestDisk(c.disks); got != c.want {
			t.Errorf("largestDisk(%v) = %d, want %d", c.disks, got, c.want)
		}
	}
}
