package workspace

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"banger/internal/workspace/wire"
)

// What is not to be replaced stays, though it came after the first look; with force
// anything goes but what is mounted in it.
func TestReplace(t *testing.T) {
	for name, c := range map[string]struct {
		script        string
		force, placed bool
	}{
		"nothing":                  {":", false, true},
		"an empty directory":       {"mkdir to", false, true},
		"a file in it":             {"mkdir to; echo mine >to/f", false, false},
		"a file":                   {"echo mine >to", false, false},
		"a link":                   {"mkdir other; ln -s other to", false, false},
		"nothing, with force":      {":", true, true},
		"a file in it, with force": {"mkdir to; echo mine >to/f", true, true},
		"a file, with force":       {"echo mine >to", true, true},
		"a link, with force":       {"mkdir other; echo mine >other/f; ln -s other to", true, true},
	} {
		dir := t.TempDir()
		sh(t, dir, c.script+"; mkdir temp; echo new >temp/new")
		err := replace(filepath.Join(dir, "temp"), filepath.Join(dir, "to"), c.force)
		if placed := err == nil; placed != c.placed {
			t.Errorf("%s: replace = %v", name, err)
		}
		if _, err := os.Lstat(filepath.Join(dir, "to", "new")); (err == nil) != c.placed {
			t.Errorf("%s: the new tree is in its place: %v", name, err == nil)
		}
	}
}

func TestMountedInside(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can mount")
	}
	dir := t.TempDir()
	sh(t, dir, `mkdir -p data "to/a b" temp; echo mine >data/f`)
	at := filepath.Join(dir, "to", "a b")
	if err := unix.Mount(filepath.Join(dir, "data"), at, "", unix.MS_BIND, ""); err != nil {
		t.Skip("no mount here:", err)
	}
	defer unix.Unmount(at, unix.MNT_DETACH)
	err := replace(filepath.Join(dir, "temp"), filepath.Join(dir, "to"), true)
	if err == nil || !strings.Contains(err.Error(), "mounted at") {
		t.Errorf("replace = %v", err)
	}
	if _, err := os.Stat(filepath.Join(at, "f")); err != nil {
		t.Error(err)
	}
}

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
		got, err := Receive(t.Context(), bytes.NewReader(text), home)
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
