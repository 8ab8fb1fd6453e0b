package workspace

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"banger/internal/workspace/wire"
)

// A stream makes a workspace or nothing, and nothing beside it.
func FuzzReceive(f *testing.F) {
	stream := func(names ...string) []byte {
		var b, index bytes.Buffer
		w := tar.NewWriter(&b)
		add := func(h tar.Header, text string) {
			h.Size, h.Mode = int64(len(text)), 0o644
			w.WriteHeader(&h)
			w.Write([]byte(text))
		}
		add(tar.Header{Name: wire.PartHeader}, `{"path":"dG8=","hash":"sha1"}`)
		add(tar.Header{Name: wire.PartGit + "HEAD"}, "ref: refs/heads/main\n")
		for _, n := range names {
			add(tar.Header{Name: wire.PartTree + n}, "x")
		}
		w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: wire.PartTree + "l", Linkname: "../out"})
		wire.WriteEntries(&index, []wire.Entry{{Path: []byte("a"), Mode: 0o100644, ID: make([]byte, 20), Bits: wire.Same}})
		add(tar.Header{Name: wire.PartIndex}, index.String())
		w.Close()
		return b.Bytes()
	}
	f.Add(stream("a", "d/b"))
	f.Add(stream("l/x"))
	f.Add(stream("../x"))
	base := f.TempDir()
	f.Fuzz(func(t *testing.T, text []byte) {
		outer, err := os.MkdirTemp(base, "f")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(outer)
		home := filepath.Join(outer, "home")
		os.Mkdir(home, 0o755)
		if h, err := readHeader(tar.NewReader(bytes.NewReader(text))); err == nil && string(h.Path) != "to" {
			return // any path is the host's to say
		}
		got, err := Receive(bytes.NewReader(text), home)
		if entries, rerr := os.ReadDir(outer); rerr != nil || len(entries) != 1 {
			t.Errorf("beside the home there is %v, %v", entries, rerr)
		}
		entries, _ := os.ReadDir(home)
		if err != nil && len(entries) > 0 {
			t.Errorf("after %v there is %v", err, entries)
		}
		if err == nil && (len(entries) != 1 || string(got.Path) != filepath.Join(home, "to")) {
			t.Errorf("Receive = %+v, and there is %v", got, entries)
		}
	})
}
