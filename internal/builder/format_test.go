package builder

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

func TestFit(t *testing.T) {
	for _, c := range []struct{ blocks, slack, want int64 }{
		{groupBlocks, groupBlocks, groupBlocks},
		{groupBlocks + 512, 512, groupBlocks},
		{groupBlocks + 512, 511, groupBlocks + 512},
		{2*groupBlocks + 512, 4096, 2*groupBlocks + 512}, // no copy begins group 2
		{3*groupBlocks + 512, 4096, 3 * groupBlocks},
		{25*groupBlocks + 512, 4096, 25 * groupBlocks},
		{35*groupBlocks + 512, 4096, 35*groupBlocks + 512},
	} {
		if got := fit(c.blocks, c.slack); got != c.want {
			t.Errorf("fit(%d, %d) = %d, want %d", c.blocks, c.slack, got, c.want)
		}
	}
}

// A VM's first boot writes the first copy of the superblock and the journal's first block:
// they are in one block of its disk.
func TestFormat(t *testing.T) {
	debugfs, err := findTool("debugfs")
	if err != nil {
		t.Skip(err)
	}
	path := filepath.Join(t.TempDir(), "fs")
	if err := format(t.Context(), path, size{entries: 17_000, blocks: 80_000, names: 500_000}); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(debugfs, "-R", "stat <8>", path).CombinedOutput()
	if err != nil {
		t.Fatalf("debugfs: %v: %s", err, out)
	}
	m := regexp.MustCompile(`\(0-8191\):(\d+)-\d+`).FindSubmatch(out)
	if m == nil {
		t.Fatalf("the journal is in several places: %s", out)
	}
	var at int64
	fmt.Sscan(string(m[1]), &at)
	if at/mib != groupBlocks/mib {
		t.Errorf("the journal begins at block %d, want it within a MiB behind %d", at, groupBlocks)
	}
}
