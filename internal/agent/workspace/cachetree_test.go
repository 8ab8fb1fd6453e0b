package workspace

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"

	"banger/internal/workspace/wire"
)

// The extension is byte for byte what git writes.
func TestCacheTree(t *testing.T) {
	for _, format := range []string{"sha1", "sha256"} {
		dir := t.TempDir()
		list := sh(t, dir, `git init -q --object-format=`+format+`; mkdir -p a/b/c ab/x abc; echo 1 >a/b/c/f; echo 2 >a/b/g; echo 3 >a.txt; echo 4 >ab/x/y; ln -s f abc/l; echo 5 >z; chmod +x z
			git add .; git write-tree >/dev/null; git ls-files -s`)
		var entries []wire.Entry
		for line := range strings.Lines(list) {
			var e wire.Entry
			var id, path string
			if _, err := fmt.Sscanf(line, "%o %s %d\t%s", &e.Mode, &id, &e.Stage, &path); err != nil {
				t.Fatal(err)
			}
			e.Path = []byte(path)
			e.ID, _ = hex.DecodeString(id)
			entries = append(entries, e)
		}
		got, err := cacheTreeOf(entries, format)
		if err != nil {
			t.Fatal(err)
		}
		index, err := os.ReadFile(dir + "/.git/index")
		if err != nil {
			t.Fatal(err)
		}
		if len(got) == 0 || !bytes.Contains(index, got) {
			t.Errorf("%s: the extension is\n%q\ngit's index\n%q", format, got, index)
		}
		entries[1].Stage = 1
		if got, err := cacheTreeOf(entries, format); got != nil || err != nil {
			t.Errorf("with a conflict: %q, %v", got, err)
		}
	}
}
